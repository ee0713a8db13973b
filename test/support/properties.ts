/** Loaded before every test file: a list that may have forty elements has up to forty, not the ten that properties are tried with by default. */
import fc from 'fast-check';

fc.configureGlobal({ ...fc.readConfigureGlobal(), defaultSizeToMaxWhenMaxSpecified: true });
