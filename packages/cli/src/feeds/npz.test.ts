import { deflateRawSync } from 'node:zlib';
import { random as seededRandom } from '@msd/core/numerics';
import { describe, expect, it } from 'vitest';
import { UserError } from '../shared/errors.ts';
import { readNpy, readNpz } from './npz.ts';

/** What numpy.save writes. */
function npy(descr: string, shape: string, data: Uint8Array, order = 'False', version = 1): Uint8Array {
  const text = `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': ${shape}, }\n`;
  const head = version === 1 ? 10 : 12;
  const bytes = new Uint8Array(head + text.length + data.length);
  bytes.set([0x93, ...new TextEncoder().encode('NUMPY'), version, 0]);
  const view = new DataView(bytes.buffer);
  if (version === 1) view.setUint16(8, text.length, true);
  else view.setUint32(8, text.length, true);
  bytes.set(new TextEncoder().encode(text), head);
  bytes.set(data, head + text.length);
  return bytes;
}

/** What numpy.savez writes. */
function zip(files: Readonly<Record<string, Uint8Array>>, isDeflated: boolean): Uint8Array {
  const parts: Buffer[] = [];
  const list: Buffer[] = [];
  let at = 0;
  for (const [name, data] of Object.entries(files)) {
    const packed = isDeflated ? deflateRawSync(data) : Buffer.from(data);
    const local = Buffer.alloc(30 + name.length);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(name.length, 26);
    local.write(name, 30);
    const entry = Buffer.alloc(46 + name.length);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(isDeflated ? 8 : 0, 10);
    entry.writeUInt32LE(packed.length, 20);
    entry.writeUInt32LE(data.length, 24);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt32LE(at, 42);
    entry.write(name, 46);
    parts.push(local, packed);
    list.push(entry);
    at += local.length + packed.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(list.length, 10);
  end.writeUInt32LE(at, 16);
  return new Uint8Array(Buffer.concat([...parts, ...list, end]));
}

const floats = new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer);

describe('npz', () => {
  it.each([false, true])('reads what numpy writes, deflated: %s', (isDeflated) => {
    const ids = new Uint8Array(BigInt64Array.of(7n, 8n).buffer);
    const bytes = zip(
      { 'x.npy': npy('<f4', '(2, 3)', floats), 'ids.npy': npy('<i8', '(2,)', ids, 'False', 2), 'notes.txt': ids },
      isDeflated,
    );
    expect(Object.fromEntries(readNpz(bytes, 'a.npz'))).toEqual({
      x: { dtype: 'float32', dims: [2, 3], bytes: floats },
      ids: { dtype: 'int64', dims: [2], bytes: ids },
    });
  });

  it('reads scalars and empty arrays', () => {
    expect(readNpy(npy('<f4', '()', floats.subarray(0, 4)), 'a').dims).toEqual([]);
    expect(readNpy(npy('|b1', '(0, 4)', new Uint8Array(0)), 'a')).toEqual({
      dtype: 'bool',
      dims: [0, 4],
      bytes: new Uint8Array(0),
    });
  });

  it.each([
    ['other bytes', new Uint8Array(40), 'expected an array of NumPy'],
    ['a cut header', npy('<f4', '(6,)', floats).subarray(0, 30), 'its header is cut'],
    ['a cut long header', npy('<f4', '(6,)', floats, 'False', 2).subarray(0, 11), 'its header is cut'],
    ['no shape', npy("<f4', 'x': '", 'None', floats), 'no descr or no shape'],
    ['strings', npy('<U4', '(6,)', floats), 'its elements are <U4'],
    ['an inherited name', npy('toString', '(6,)', floats), 'its elements are toString'],
    ['columns', npy('<f4', '(2, 3)', floats, 'True'), 'numpy.ascontiguousarray'],
    ['a negative size', npy('<f4', '(-6,)', floats), 'its shape is (-6,)'],
    ['too few elements', npy('<f4', '(7,)', floats), 'expected 28 bytes of elements for (7,), got 24'],
  ])('refuses %s', (_, bytes, message) => {
    expect(() => readNpy(bytes, 'a.npy')).toThrow(message);
  });

  it.each([
    ['other bytes', new Uint8Array(100), 'expected an .npz archive'],
    ['nothing', new Uint8Array(0), 'expected an .npz archive'],
    ['no arrays', zip({ 'a.txt': floats }, false), 'it has no arrays'],
  ])('refuses an archive of %s', (_, bytes, message) => {
    expect(() => readNpz(bytes, 'a.npz')).toThrow(message);
  });

  it('says what is damaged, whatever it is', () => {
    const whole = zip({ 'x.npy': npy('<f4', '(2, 3)', floats), 'y.npy': npy('<f4', '(6,)', floats) }, true);
    const random = seededRandom(4);
    for (let i = 0; i < 5000; i++) {
      const bytes = whole.slice(0, random() < 0.3 ? Math.floor(random() * whole.length) : whole.length);
      for (let n = 0; n < 4 && bytes.length > 0; n++)
        bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      try {
        readNpz(bytes, 'a.npz');
      } catch (error) {
        expect(error).toBeInstanceOf(UserError);
      }
    }
  });
});
