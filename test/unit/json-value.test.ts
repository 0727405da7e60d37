import { describe, expect, test } from 'vitest';
import { InvalidArgumentsError } from '../../src/errors.ts';
import { MAX_JSON_BYTES, toExactJson, toStorable } from '../../src/json-value.ts';
import { forSeeds, type Random } from '../support/random.ts';

function refusalOf(value: unknown): InvalidArgumentsError {
  try {
    toExactJson('args', value);
  } catch (error) {
    if (error instanceof InvalidArgumentsError) return error;
    throw error;
  }
  throw new Error('The value was not refused');
}

class Money {
  readonly cents = 5;
}

function nested(depth: number): unknown {
  let value: unknown = 'bottom';
  for (let level = 0; level < depth; level++) value = [value];
  return value;
}

describe('takes', () => {
  test.each([
    ['null', null],
    ['booleans', [true, false]],
    ['numbers', [0, 1, -1, 1.5, 1e308, 5e-324, Number.MAX_SAFE_INTEGER, -123_456.789]],
    ['text', ['', 'plain', 'quote " and \\ and \n', 'ä€𝄞', '\u2028', '\u0001']],
    ['whole surrogate pairs', '\uD83D\uDE00'],
    ['empty containers', [[], {}]],
    ['nested containers', { a: [{ b: [1, { c: null }] }] }],
    ['objects without a prototype', Object.assign(Object.create(null), { a: 1 })],
    ['a key that is called toJSON and is no function', { toJSON: 'text' }],
    ['a key that is called constructor', { constructor: 'text' }],
    ['an empty key', { '': 1 }],
  ])('%s exactly', (_what, value) => {
    expect(JSON.parse(toExactJson('args', value))).toEqual(value);
  });

  test('a key that is called __proto__ as any other', () => {
    const value = JSON.parse('{"__proto__":{"polluted":true}}') as object;
    const back = JSON.parse(toExactJson('args', value)) as object;
    expect(Object.getOwnPropertyDescriptor(back, '__proto__')?.value).toEqual({ polluted: true });
    expect('polluted' in {}).toBe(false);
  });

  test('the same object in two places', () => {
    const shared = { a: 1 };
    expect(toExactJson('args', [shared, shared])).toBe('[{"a":1},{"a":1}]');
  });

  test('100 levels of nesting', () => {
    const value = nested(100);
    expect(JSON.parse(toExactJson('args', value))).toEqual(value);
  });

  test('any value made of what JSON has', async () => {
    const make = (random: Random, depth: number): unknown => {
      const kind = random.int(0, depth > 4 ? 3 : 5);
      if (kind === 0) return random.pick([null, true, false]);
      if (kind === 1) return random.pick([random.int(-1e9, 1e9) || 0, random.next(), random.next() * 1e300]);
      if (kind <= 3) return String.fromCodePoint(...Array.from({ length: 5 }, () => random.int(1, 0xd7ff)));
      const values = Array.from({ length: random.int(0, 4) }, () => make(random, depth + 1));
      return kind === 4 ? values : Object.fromEntries(values.map((value, index) => [`key ${index}`, value]));
    };
    await forSeeds(300, (random) => {
      const value = make(random, 0);
      expect(JSON.parse(toExactJson('args', value))).toStrictEqual(value);
    });
  });
});

describe('refuses', () => {
  test.each([
    ['undefined', undefined, /^args\[0\] is undefined;/],
    ['NaN', NaN, /^args\[0\] is NaN;/],
    ['Infinity', Infinity, /^args\[0\] is Infinity;/],
    ['-Infinity', -Infinity, /^args\[0\] is -Infinity;/],
    ['-0', -0, /^args\[0\] is -0;/],
    ['a bigint', 10n, /^args\[0\] is 10n \(bigint\);/],
    ['a symbol', Symbol('x'), /^args\[0\] is symbol/],
    ['a function', function work() {}, /^args\[0\] is function work;/],
    ['a Date', new Date(0), /^args\[0\] is an instance of Date;/],
    ['a Map', new Map(), /^args\[0\] is an instance of Map;/],
    ['a Set', new Set(), /^args\[0\] is an instance of Set;/],
    ['an Error', new Error('x'), /^args\[0\] is an instance of Error;/],
    ['a Buffer', Buffer.from('x'), /^args\[0\] is an instance of Buffer;/],
    ['a regular expression', /x/, /^args\[0\] is an instance of RegExp;/],
    ['a boxed number', Object(1), /^args\[0\] is an instance of Number;/],
    ['a promise', Promise.resolve(), /^args\[0\] is an instance of Promise;/],
    ['an instance of a class', new Money(), /^args\[0\] is an instance of Money;/],
    [
      'an instance of a class without a name',
      new (class {
        readonly a = 1;
      })(),
      /^args\[0\] is an instance of /,
    ],
    ['an object whose prototype is a plain object', Object.create({ a: 1 }), /^args\[0\] is an instance of /],
    ['an object with toJSON', { toJSON: () => 1 }, /^args\[0\] has symbol keys or a toJSON method/],
    ['an object with a symbol key', { [Symbol('x')]: 1 }, /^args\[0\] has symbol keys or a toJSON method/],
    ['a NUL character', 'a\0b', /^args\[0\] has a NUL character/],
    ['the first half of a surrogate pair', 'a\uD83D', /^args\[0\] has .* half of a surrogate pair/],
    ['the second half of a surrogate pair', '\uDE00b', /^args\[0\] has .* half of a surrogate pair/],
    ['a surrogate pair in the wrong order', '\uDE00\uD83D', /^args\[0\] has .* half of a surrogate pair/],
    ['a NUL character in a key', { 'a\0b': 1 }, /^args\[0\] has a key that Postgres cannot store/],
    ['half of a surrogate pair in a key', { '\uD83D': 1 }, /^args\[0\] has a key that Postgres cannot store/],
  ])('%s', (_what, value, text) => {
    const refusal = refusalOf([value]);
    expect(refusal.message).toMatch(text);
    expect(refusal).toMatchObject({ code: 'INVALID_ARGUMENTS', path: 'args[0]' });
  });

  test.each([
    ['args[1].user.birthday', [1, { user: { birthday: new Date(0) } }]],
    ['args[0][2]', [[0, 1, undefined]]],
    ['args[0].a.b[1].c', [{ a: { b: [0, { c: NaN }] } }]],
  ])('with the path %s', (path, value) => {
    expect(refusalOf(value).path).toBe(path);
  });

  test('a property that is set to undefined', () => {
    expect(refusalOf([{ a: undefined }]).path).toBe('args[0].a');
  });

  test('the hole of a sparse array', () => {
    const sparse = [1];
    sparse[2] = 3;
    expect(refusalOf([sparse]).path).toBe('args[0][1]');
  });

  test('an array with properties beside its elements, which JSON would drop', () => {
    expect(refusalOf([Object.assign([1, 2], { name: 'extra' })]).path).toBe('args[0]');
  });

  test('an instance of a class of arrays, which would come back as an array', () => {
    expect(refusalOf([new (class Stack extends Array<number> {})()]).message).toMatch(
      /^args\[0\] is an instance of Stack/,
    );
  });

  test.each([
    [
      'an object',
      () => {
        const value: Record<string, unknown> = {};
        value['self'] = value;
        return value;
      },
    ],
    [
      'an array',
      () => {
        const value: unknown[] = [];
        value.push(value);
        return value;
      },
    ],
  ])('%s that contains itself', (_what, make) => {
    expect(refusalOf([make()]).message).toMatch(/is nested deeper than 100 levels, or contains itself/);
  });

  test('101 levels of nesting', () => {
    expect(refusalOf(nested(101)).message).toMatch(/is nested deeper than 100 levels/);
  });

  test('nesting so deep that JSON.stringify would fail', () => {
    expect(refusalOf(nested(100_000)).message).toMatch(/is nested deeper than 100 levels/);
  });
});

describe('refuses in no time', () => {
  test('values that share others on so many levels that their JSON would never end', () => {
    let value: unknown = 'bottom';
    for (let level = 0; level < 90; level++) value = [value, value];
    expect(refusalOf(value).message).toMatch(/is one value too many: at most 65536 bytes/);
  });

  test('objects that refer to each other in several ways', () => {
    const parent: { children: unknown[] } = { children: [] };
    for (let i = 0; i < 3; i++) parent.children.push({ parent });
    expect(refusalOf(parent).message).toMatch(/or contains itself/);
  });
});

describe('counts size in bytes of JSON', () => {
  /** Two bytes are the quotes. */
  const text = (character: string, bytes: number) =>
    character.repeat((bytes - 2) / Buffer.byteLength(character));

  test('and takes exactly 64 KiB', () => {
    expect(toExactJson('args', text('x', MAX_JSON_BYTES))).toHaveLength(MAX_JSON_BYTES);
    expect(Buffer.byteLength(toExactJson('args', text('ä', MAX_JSON_BYTES)))).toBe(MAX_JSON_BYTES);
  });

  test.each([
    ['a character of one byte', 'x'],
    ['characters of two bytes', 'ä'],
    ['characters of three bytes', '€'],
    ['characters of four bytes', '𝄞'],
  ])('and refuses more, with %s', (_what, character) => {
    const tooLong = character.repeat(Math.ceil(MAX_JSON_BYTES / Buffer.byteLength(character)));
    const bytes = Buffer.byteLength(JSON.stringify(tooLong));
    const refusal = refusalOf(tooLong);
    expect(refusal.message).toMatch(`args holds ${bytes} bytes of JSON; at most 65536 are allowed`);
    expect(refusal.path).toBe('args');
  });

  test('with the escapes that JSON needs', () => {
    expect(refusalOf('\n'.repeat(MAX_JSON_BYTES / 2)).message).toMatch(/holds 65538 bytes/);
  });
});

describe('for messages', () => {
  test.each([
    ['a\0b', 'a\uFFFDb'],
    ['a\uD83D', 'a\uFFFD'],
    ['\uDE00\uD83D', '\uFFFD\uFFFD'],
    ['\0\0', '\uFFFD\uFFFD'],
    ['whole 😀 pair', 'whole 😀 pair'],
  ])('replaces what Postgres cannot store in %j', (text, stored) => {
    expect(toStorable(text)).toBe(stored);
  });

  test('replaces the same again, whatever was checked before', () => {
    const texts = ['x\0', '\0', 'xx\0'];
    expect([...texts, ...texts].map(toStorable)).toEqual([
      'x\uFFFD',
      '\uFFFD',
      'xx\uFFFD',
      'x\uFFFD',
      '\uFFFD',
      'xx\uFFFD',
    ]);
  });
});
