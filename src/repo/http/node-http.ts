/**
 * Node's own HTTP server. Taken this way and not by `import`, which would read every export of it, those that load the
 * client behind `fetch` and WebSocket too: some MiB that no server needs.
 */
export const { createServer, STATUS_CODES, validateHeaderValue } = process.getBuiltinModule('node:http');
