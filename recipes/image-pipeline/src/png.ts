/** PNG (https://www.w3.org/TR/png-3/) of eight bits a channel and without interlacing, and its writing. */
export interface Picture {
  width: number;
  height: number;
  /** Four bytes a pixel. */
  rgba: Uint8Array;
}

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const MAX_PIXELS = 4_000_000;
/** Color type -> channels. */
const CHANNELS: Record<number, number> = { 0: 1, 2: 3, 4: 2, 6: 4 };

export function isPng(bytes: Uint8Array): boolean {
  return SIGNATURE.every((byte, index) => bytes[index] === byte);
}

async function through(bytes: Uint8Array, transform: any): Promise<Uint8Array> {
  return new Uint8Array(await new Response(new Blob([bytes as any]).stream().pipeThrough(transform)).arrayBuffer());
}

function* chunksOf(bytes: Uint8Array): Generator<{ type: string; data: Uint8Array }> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = SIGNATURE.length; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    if (at + 12 + length > bytes.length) throw new Error('the PNG breaks off');
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    yield { type, data: bytes.subarray(at + 8, at + 8 + length) };
    at += 12 + length;
  }
}

/** Throws what is wrong with it, or what this cannot read. */
export async function readPng(bytes: Uint8Array): Promise<Picture> {
  const chunks = [...chunksOf(bytes)];
  const header = chunks[0];
  if (header?.type !== 'IHDR' || header.data.length !== 13) throw new Error('the PNG has no header');
  const view = new DataView(header.data.buffer, header.data.byteOffset, 13);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, color, , , interlaced] = header.data.subarray(8);
  if (width * height === 0 || width * height > MAX_PIXELS) throw new Error(`a PNG of ${width}x${height} pixels`);
  const channels = CHANNELS[color!];
  if (depth !== 8 || !channels || interlaced) throw new Error('a PNG with a palette, of another depth, or interlaced');
  const data = chunks.filter(({ type }) => type === 'IDAT').map((chunk) => chunk.data);
  const packed = new Uint8Array(await new Blob(data as any[]).arrayBuffer());
  const rows = await through(packed, new DecompressionStream('deflate'));
  const stride = width * channels;
  if (rows.length !== height * (stride + 1)) throw new Error('the PNG has too few pixels, or too many');
  return { width, height, rgba: toRgba(unfilter(rows, height, stride, channels), channels) };
}

/** Each row is told as the difference to what is left of it and above it. */
function unfilter(rows: Uint8Array, height: number, stride: number, channels: number): Uint8Array {
  const pixels = new Uint8Array(height * stride);
  for (let y = 0; y < height; y++) {
    const filter = rows[y * (stride + 1)]!;
    for (let x = 0; x < stride; x++) {
      const at = y * stride + x;
      const left = x < channels ? 0 : pixels[at - channels]!;
      const up = y === 0 ? 0 : pixels[at - stride]!;
      const corner = x < channels || y === 0 ? 0 : pixels[at - stride - channels]!;
      pixels[at] = rows[y * (stride + 1) + 1 + x]! + predicted(filter, left, up, corner);
    }
  }
  return pixels;
}

function predicted(filter: number, left: number, up: number, corner: number): number {
  if (filter === 0) return 0;
  if (filter === 1) return left;
  if (filter === 2) return up;
  if (filter === 3) return (left + up) >> 1;
  if (filter !== 4) throw new Error('the PNG has a filter that there is not');
  const guess = left + up - corner;
  const [a, b, c] = [Math.abs(guess - left), Math.abs(guess - up), Math.abs(guess - corner)];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

function toRgba(pixels: Uint8Array, channels: number): Uint8Array {
  if (channels === 4) return pixels;
  const rgba = new Uint8Array((pixels.length / channels) * 4);
  for (let i = 0; i < pixels.length / channels; i++) {
    const pixel = pixels.subarray(i * channels, (i + 1) * channels);
    const [red, green, blue] = channels < 3 ? [pixel[0]!, pixel[0]!, pixel[0]!] : pixel;
    rgba.set([red!, green!, blue!, channels === 2 ? pixel[1]! : 255], i * 4);
  }
  return rgba;
}

export async function writePng({ width, height, rgba }: Picture): Promise<Uint8Array> {
  const rows = new Uint8Array(height * (width * 4 + 1));
  for (let y = 0; y < height; y++) rows.set(rgba.subarray(y * width * 4, (y + 1) * width * 4), y * (width * 4 + 1) + 1);
  const header = new Uint8Array(13);
  new DataView(header.buffer).setUint32(0, width);
  new DataView(header.buffer).setUint32(4, height);
  header.set([8, 6], 8);
  const packed = await through(rows, new CompressionStream('deflate'));
  const parts = [
    new Uint8Array(SIGNATURE),
    chunk('IHDR', header),
    chunk('IDAT', packed),
    chunk('IEND', new Uint8Array()),
  ];
  return new Uint8Array(await new Blob(parts as any[]).arrayBuffer());
}

function chunk(type: string, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(data.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(data, 8);
  view.setUint32(data.length + 8, crc32(bytes.subarray(4, data.length + 8)));
  return bytes;
}

function crc32(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

/** Each pixel is the mean of those that it stands for; no side is longer than `most`. */
export function smaller({ width, height, rgba }: Picture, most: number): Picture {
  const scale = Math.max(1, width / most, height / most);
  const [w, h] = [Math.max(1, Math.round(width / scale)), Math.max(1, Math.round(height / scale))];
  const small = new Uint8Array(w * h * 4);
  for (let y = 0; y < h; y++) {
    const [top, bottom] = [
      Math.floor((y * height) / h),
      Math.max(Math.floor((y * height) / h) + 1, Math.floor(((y + 1) * height) / h)),
    ];
    for (let x = 0; x < w; x++) {
      const [left, right] = [
        Math.floor((x * width) / w),
        Math.max(Math.floor((x * width) / w) + 1, Math.floor(((x + 1) * width) / w)),
      ];
      const sums = [0, 0, 0, 0];
      for (let j = top; j < bottom; j++) {
        for (let i = left; i < right; i++) for (let c = 0; c < 4; c++) sums[c]! += rgba[(j * width + i) * 4 + c]!;
      }
      const count = (bottom - top) * (right - left);
      small.set(
        sums.map((sum) => Math.round(sum / count)),
        (y * w + x) * 4,
      );
    }
  }
  return { width: w, height: h, rgba: small };
}
