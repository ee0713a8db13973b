"""The socket of a service manager: notify-socket.py PATH. Each message comes out of standard output, as a line of JSON."""
import json
import socket
import sys

manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(sys.argv[1])
print(json.dumps("bound"), flush=True)
while True:
    # A file that came with it is closed by not being taken: that is what the sender of a barrier waits for.
    message = manager.recv(4096).decode()
    if message != "BARRIER=1":
        print(json.dumps(message), flush=True)
