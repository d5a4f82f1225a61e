/**
 * An SFTP server that means harm, on standard input and output: sshd starts it as its subsystem. Whatever folder is
 * asked for holds the same things; the name of a file or folder says what is wrong with it.
 */
import { readSync, writeSync } from 'node:fs';

const TYPE = { init: 1, open: 3, close: 4, read: 5, lstat: 7, fstat: 8, opendir: 11, readdir: 12, stat: 17 } as const;
const ANSWER = { version: 2, status: 101, handle: 102, data: 103, name: 104, attrs: 105 } as const;
const [EOF, UNSUPPORTED] = [1, 8];
const [FOLDER, FILE, LINK, PIPE] = [0o040755, 0o100644, 0o120777, 0o010644];
const SIZE = 100_000;

/** What each folder holds. */
const NAMES: [string, number][] = [
  ['.', FOLDER],
  ['..', FOLDER],
  ['../x', FILE],
  ['/etc/passwd', FILE],
  ['a/b', FILE],
  ['a\\b', FILE],
  ['nul\0', FILE],
  ['x'.repeat(300), FILE],
  ['..', FILE],
  ['good', FILE],
  ['metadata', FOLDER],
  ['link', LINK],
  ['pipe', PIPE],
];

const text = (value: string) => bytes(Buffer.from(value));
const bytes = (value: Buffer) => Buffer.concat([number(value.length), value]);
const attributes = (mode: number) => Buffer.concat([number(5), number(0), number(SIZE), number(mode)]);

function number(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32BE(value);
  return buffer;
}

function send(type: number, ...parts: Buffer[]): void {
  const body = Buffer.concat([Buffer.from([type]), ...parts]);
  const packet = Buffer.concat([number(body.length), body]);
  for (let done = 0; done < packet.length; ) done += writeSync(1, packet, done);
}

function receive(length: number): Buffer {
  const buffer = Buffer.alloc(length);
  for (let done = 0; done < length; ) {
    const read = readSync(0, buffer, done, length - done, null);
    if (read === 0) process.exit(0);
    done += read;
  }
  return buffer;
}

const status = (id: Buffer, code: number) => send(ANSWER.status, id, number(code), text('so it is'), text(''));

function modeOf(path: string): number {
  if (/(good|short|shrinks|greedy|garbage)$/.test(path)) return FILE;
  return FOLDER;
}

function names(id: Buffer, list: readonly [string, number][]): void {
  const items = list.flatMap(([name, mode]) => [text(name), text(`-rw-r--r-- 1 u g 1 ${name}`), attributes(mode)]);
  send(ANSWER.name, id, number(list.length), ...items);
}

function readFrom(id: Buffer, handle: string, offset: number, length: number): void {
  const end = handle.endsWith('shrinks') ? SIZE / 2 : SIZE;
  if (handle.endsWith('garbage')) send(ANSWER.name, id, number(0xffffffff));
  else if (handle.endsWith('greedy')) send(ANSWER.data, id, bytes(Buffer.alloc(length + 5000, 1)));
  else if (offset >= end) status(id, EOF);
  else {
    const most = handle.endsWith('short') ? 1000 : length;
    const data = Buffer.alloc(Math.min(length, most, end - offset));
    for (let at = 0; at < data.length; at++) data[at] = (offset + at) % 251;
    send(ANSWER.data, id, bytes(data));
  }
}

const listed = new Map<string, number>();

function listFolder(id: Buffer, handle: string): void {
  const page = listed.get(handle) ?? 0;
  listed.set(handle, page + 1);
  if (handle.endsWith('endless')) {
    names(
      id,
      Array.from({ length: 500 }, (_, index) => [`x${page}-${index}`, FILE]),
    );
  } else if (page > 0) status(id, EOF);
  else names(id, NAMES);
}

for (;;) {
  const packet = receive(receive(4).readUInt32BE());
  const type = packet[0];
  if (type === TYPE.init) {
    send(ANSWER.version, number(3));
    continue;
  }
  const id = packet.subarray(1, 5);
  const length = packet.readUInt32BE(5);
  const subject = packet.subarray(9, 9 + length).toString();
  const rest = packet.subarray(9 + length);
  if (type === TYPE.stat || type === TYPE.lstat || type === TYPE.fstat) {
    send(ANSWER.attrs, id, attributes(modeOf(subject)));
  } else if (type === TYPE.open || type === TYPE.opendir) send(ANSWER.handle, id, text(subject));
  else if (type === TYPE.close) status(id, 0);
  else if (type === TYPE.readdir) listFolder(id, subject);
  else if (type === TYPE.read) readFrom(id, subject, Number(rest.readBigUInt64BE()), rest.readUInt32BE(8));
  else status(id, UNSUPPORTED);
}
