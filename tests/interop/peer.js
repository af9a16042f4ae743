// A peer on the node package `ws`, or on a plain Unix socket, steered by the runner.
//
// Commands come as JSON lines on stdin, events go as JSON lines to stdout, as in `peer.py`.

'use strict';

const fs = require('fs');
const http = require('http');
const https = require('https');
const net = require('net');
const readline = require('readline');
const { parseArgs } = require('util');
const WebSocket = require('ws');

const { positionals, values: options } = parseArgs({
  allowPositionals: true,
  options: {
    port: { type: 'string', default: '0' },
    cert: { type: 'string' },
    key: { type: 'string' },
    ca: { type: 'string' },
    tls: { type: 'string' },
    origin: { type: 'string' },
    subprotocol: { type: 'string', multiple: true },
    echo: { type: 'boolean', default: false },
  },
});
const [role, target] = positionals;

// The newest connection, which commands are for.
let current;

// What both sides of TLS take: files, and one version if it is named.
function tlsSettings() {
  const version = options.tls && `TLSv${options.tls}`;
  return {
    ...(options.cert && { cert: fs.readFileSync(options.cert), key: fs.readFileSync(options.key) }),
    ...(options.ca && { ca: fs.readFileSync(options.ca) }),
    ...(version && { minVersion: version, maxVersion: version }),
  };
}

function emit(event, fields = {}) {
  fs.writeSync(1, JSON.stringify({ event, ...fields }) + '\n');
}

// The payload in that many pieces, cut without regard to characters.
function pieces(payload, count) {
  const size = Math.ceil(payload.length / count) || 1;
  return Array.from({ length: count }, (_, at) => payload.subarray(at * size, (at + 1) * size));
}

function framed(payload) {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(payload.length);
  return Buffer.concat([length, payload]);
}

// One WebSocket connection, whoever dialled it.
function adoptWebSocket(socket, request) {
  const open = () =>
    emit('open', {
      path: request?.url,
      headers: request?.headers,
      subprotocol: socket.protocol || null,
      extensions: Object.keys(socket._extensions ?? {}),
    });
  if (request) open();
  else socket.on('open', open);
  socket.on('message', (data, isBinary) => {
    emit('message', { type: isBinary ? 'binary' : 'text', data: data.toString('base64') });
    if (options.echo) socket.send(data, { binary: isBinary });
  });
  socket.on('ping', () => emit('ping'));
  socket.on('pong', () => emit('pong'));
  socket.on('close', (code, reason) => emit('close', { code, reason: reason.toString() }));
  socket.on('unexpected-response', (_, response) => {
    emit('refused', { status: response.statusCode });
    process.exit(0);
  });
  socket.on('error', (error) => emit('error', { text: String(error) }));

  current = ({ do: what, type, data = '', fragments = 1, count = 0, code = 1000, reason = '' }) => {
    if (what === 'send') {
      const parts = pieces(Buffer.from(data, 'base64'), fragments);
      parts.forEach((part, at) =>
        socket.send(part, { binary: type !== 'text', fin: at === parts.length - 1 }));
    } else if (what === 'count') {
      for (let number = 0; number < count; number++) socket.send(String(number));
    } else if (what === 'ping') {
      socket.ping();
    } else if (what === 'close') {
      socket.close(code, reason);
    } else if (what === 'drop') {
      socket.terminate();
    }
  };
}

// One connection to a Unix socket: the length, 4 bytes big-endian, then the payload.
function adoptUnix(socket) {
  let input = Buffer.alloc(0);
  socket.on('connect', () => emit('open'));
  socket.on('data', (chunk) => {
    input = Buffer.concat([input, chunk]);
    while (input.length >= 4 && input.length >= 4 + input.readUInt32BE(0)) {
      const end = 4 + input.readUInt32BE(0);
      emit('message', { type: 'bytes', data: input.subarray(4, end).toString('base64') });
      input = input.subarray(end);
    }
  });
  socket.on('close', () => emit('close', { code: null, reason: '' }));
  socket.on('error', () => {});

  current = ({ do: what, data = '', fragments = 1, count = 0 }) => {
    if (what === 'send') {
      pieces(framed(Buffer.from(data, 'base64')), fragments).forEach((part) => socket.write(part));
    } else if (what === 'count') {
      for (let number = 0; number < count; number++) {
        socket.write(framed(Buffer.from(String(number))));
      }
    } else if (what === 'close') {
      socket.end();
    } else if (what === 'drop') {
      socket.destroy();
    }
  };
}

function runSource() {
  const server = options.cert
    ? https.createServer({ ...tlsSettings(), requestCert: Boolean(options.ca) })
    : http.createServer();
  const known = options.subprotocol ?? [];
  const sockets = new WebSocket.Server({
    server,
    perMessageDeflate: true,
    maxPayload: 0,
    handleProtocols: (offered) => known.find((name) => offered.has(name)) ?? false,
  });
  sockets.on('connection', adoptWebSocket);
  server.listen(Number(options.port), '127.0.0.1', () =>
    emit('listening', { port: server.address().port }));
}

function runWs() {
  const settings = { perMessageDeflate: true, maxPayload: 0, ...tlsSettings() };
  if (options.origin) settings.origin = options.origin;
  adoptWebSocket(new WebSocket(target, options.subprotocol ?? [], settings));
}

({ source: runSource, ws: runWs, unix: () => adoptUnix(net.connect(target)) })[role]();

const commands = readline.createInterface({ input: process.stdin });
commands.on('line', (line) => {
  try {
    current(JSON.parse(line));
  } catch (error) {
    emit('error', { text: `${line.slice(0, 80)}: ${error}` });
  }
});
commands.on('close', () => process.exit(0));
