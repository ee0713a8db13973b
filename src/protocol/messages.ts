/** The meta of each frame: what daemon and replica say to each other. `docs/replica-protocol.md` is the same in words. */
import type { BatchedFunctionSpec } from '../domain/desired.ts';
import type { ErrorShape } from '../domain/errors.ts';
import type { Json } from '../domain/json.ts';
import type { DeploymentRun, DescribeRun } from './start.ts';

/** First frame of a replica on each of its two sockets. */
export interface HelloMeta {
  readonly protocol: number;
  readonly replica: string;
  readonly token: string;
  readonly runtime?: string;
  /** On a third socket that carries nothing but BEGUN. */
  readonly link?: 'begun';
  /** It takes HTTP_CALL, the short form of a CALL. */
  readonly brief?: boolean;
  /** It takes calls of `websocket`, and knows SOCKET, MESSAGE and CLOSE. */
  readonly websockets?: boolean;
  /** It takes calls whose body follows in BODY frames. */
  readonly bodies?: boolean;
  /** It takes an HTTP_CALL that says whether it came over TLS. */
  readonly secure?: boolean;
  /** It takes VALUE_CALL and VALUE_RESULT, the short forms of what carries a value. */
  readonly briefValues?: boolean;
}

/** Answers the HELLO on the data link. */
export interface WelcomeMeta {
  /** The daemon takes HTTP_RESULT, the short form of a RESULT. */
  readonly brief?: boolean;
  /** It takes VALUE_CALL, VALUE_RESULT and IDS_BEGUN. */
  readonly briefValues?: boolean;
}

/** Before START, and whenever it changes. */
export interface SettingsMeta {
  readonly logLevel: string;
  /** Of a model with `batching`: the most rows of one run. */
  readonly maxRows?: number;
  /** Of code, by name: what holds for batched functions in place of what the code says. */
  readonly batchedFunctions?: Readonly<Record<string, BatchedFunctionSpec>>;
  /** The daemon takes METRICS. */
  readonly metrics?: true;
}

export type StartMeta = DeploymentRun | DescribeRun;

/** How a method takes its input and gives its output. */
export interface MethodShape {
  readonly input: 'whole' | 'stream';
  readonly output: 'whole' | 'stream';
}

export interface ReadyMeta {
  readonly methods: Readonly<Record<string, MethodShape>>;
  /** For people: a model's inputs and outputs, say. */
  readonly describes?: Json;
}

/** Whether it has `fetch`, and takes a body as it comes. A replica is not trusted to have sent what the types say. */
export const takesStreams = ({ methods }: Partial<ReadyMeta>): boolean => methods?.['fetch']?.input === 'stream';

export interface FailedMeta {
  readonly error: ErrorShape;
}

/** Head of an HTTP request that a call carries; its body is the call's value. */
export interface HttpHead {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  /** Flat: name, value, name, value; names in lower case. */
  readonly headers: readonly string[];
  /** It came over TLS. */
  readonly secure?: boolean;
}

/** One member of a CALL frame: a single call has one, a batch has many. */
export interface CallMember {
  readonly id: number;
  readonly requestId: string;
  /** Milliseconds left when the frame was written; absent: no deadline. */
  readonly leftMs?: number;
  /** Length of its skeleton in bytes and number of its segments; absent for a lone or stacked member. */
  readonly sk?: number;
  readonly n?: number;
  /** Stacked members: its size on axis 0. */
  readonly rows?: number;
  readonly http?: HttpHead;
  /** Of a call that does not come from HTTP, whose headers say them. */
  readonly modelId?: string;
  readonly sessionId?: string;
  readonly traceparent?: string;
  /** Its body is not in this frame: it follows in BODY frames, behind BEGUN. */
  readonly body?: true;
  /** It goes on with the state that the start of this number left; with `start` it begins with none, and leaves one. */
  readonly sequence?: number;
  readonly start?: true;
  /** It is the last of its sequence: FORGET follows. */
  readonly end?: true;
}

export interface CallMeta {
  readonly method: string;
  readonly calls: readonly CallMember[];
  /**
   * `one`: a single call. `items`: members with a skeleton each, for a method that takes an array.
   * `rows`: one skeleton, segments stacked on axis 0 over all members.
   */
  readonly form: 'one' | 'items' | 'rows';
  /** The value is a list of arguments, not the one argument. */
  readonly spread?: boolean;
  /** From a replica only: the call of its own in whose work this one is made, and the handle it goes through. */
  readonly parent?: number;
  readonly handle?: string;
  readonly timeoutMs?: number;
  readonly modelId?: string;
  readonly sessionId?: string;
  /** From a replica only: to each replica of the deployment; the answer is a stream of how each has ended. */
  readonly broadcast?: boolean;
  /** From a replica only: 0, the most urgent, to 7. */
  readonly priority?: number;
}

/** Daemon → replica, before its first call and at each change: how many models it may hold. 0: none by id. */
export interface ModelLimitMeta {
  readonly max: number;
}

/** Replica → daemon, once it was told a limit: which models it holds from now on (also while they load), and which no more. */
export interface ModelsMeta {
  readonly added?: readonly string[];
  readonly removed?: readonly string[];
}

/** Daemon → replica: states that no call goes on with any more. */
export interface ForgetMeta {
  readonly sequences: readonly number[];
}

/** Of a model's id, in UTF-16 units. */
export const MAX_MODEL_ID = 256;

/** What an application that is built in code consists of; answers a START with `runs.kind: application`. */
export interface ApplicationMeta {
  readonly deployments: readonly {
    readonly name: string;
    /** As the config file has them. */
    readonly options: Readonly<Record<string, Json>>;
    /** Without handles; absent where JSON cannot say them. */
    readonly args?: Readonly<Record<string, Json>> | undefined;
    /** Name of the handle → name of the deployment. */
    readonly handles: Readonly<Record<string, string>>;
  }[];
  readonly ingress: string;
  /** The export is no application but a function that is served itself: its one deployment is run as the export alone. */
  readonly bare?: true | undefined;
}

export interface BegunMeta {
  readonly ids: readonly number[];
}

/** Answer to a call, or to all members of a `rows` call, in their order: the daemon splits it by the rows that it sent. */
export interface ResultMeta {
  readonly ids: readonly number[];
  /** For calls from HTTP: the answer's head; its body is segment 0 (none: empty). */
  readonly http?: HttpAnswerHead;
  /** Milliseconds of work, as the replica measured it. */
  readonly workMs?: number;
}

export interface HttpAnswerHead {
  readonly status: number;
  readonly headers: readonly string[];
}

export interface ErrorMeta {
  readonly ids: readonly number[];
  readonly error: ErrorShape;
  readonly workMs?: number;
}

/** A streamed answer begins; CHUNK frames and an END (or an ERROR) follow. */
export interface OpenMeta {
  readonly id: number;
  readonly http?: HttpAnswerHead;
}

/** CHUNK and END. */
export interface StreamMeta {
  readonly id: number;
  /** END only. */
  readonly workMs?: number;
}

export interface CancelMeta {
  readonly ids: readonly number[];
}

/** The call of a WebSocket was taken: the client's handshake is completed, and the call's place is free. */
export interface SocketMeta {
  readonly id: number;
  /** The subprotocol, of those that the client offered. */
  readonly protocol?: string;
}

/** One message of a WebSocket; its bytes are segment 0. */
export interface MessageMeta {
  readonly id: number;
  /** UTF-8 text; absent: binary. */
  readonly text?: true;
}

/** To the replica: the client has closed, or was closed. From it: the client is to be closed. */
export interface CloseMeta {
  readonly id: number;
  readonly code: number;
  readonly reason?: string;
}

/** Allows the producer of a stream so many more bytes. */
export interface CreditMeta {
  readonly id: number;
  readonly bytes: number;
}

/** A piece of the body of an HTTP request (segment 0, none: no bytes), as it comes from the client. */
export interface BodyMeta {
  readonly id: number;
  /** `whole`: nothing follows. `broken`: the rest will not come, as the client has gone. */
  readonly end?: 'whole' | 'broken';
}

/** The code has read so many bytes of a body. */
export interface BodyCreditMeta {
  readonly id: number;
  readonly bytes: number;
}

/** Bytes that a producer may send before the first CREDIT. */
export const INITIAL_CREDIT_BYTES = 262_144;
