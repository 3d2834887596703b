/** What conditions of CernVM-FS configuration files ask: tests in brackets, arithmetic, and words in a file. */

interface FileTests {
  isFile(path: string): boolean;
  isFolder(path: string): boolean;
  read(path: string): { readonly text: string } | undefined;
}

const MAX_FIELDS = 50;

const NUMBERS: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  '-eq': (a, b) => a === b,
  '-ne': (a, b) => a !== b,
  '-lt': (a, b) => a < b,
  '-le': (a, b) => a <= b,
  '-gt': (a, b) => a > b,
  '-ge': (a, b) => a >= b,
};

const UNARY: Readonly<Record<string, (text: string, files: FileTests) => boolean>> = {
  '-z': (text) => text === '',
  '-n': (text) => text !== '',
  '-f': (path, files) => files.isFile(path),
  '-d': (path, files) => files.isFolder(path),
  '-e': (path, files) => files.isFile(path) || files.isFolder(path),
  '-r': (path, files) => files.isFile(path) || files.isFolder(path),
  '-s': (path, files) => (files.read(path)?.text ?? '') !== '',
};

/** What `[ FIELDS ]` says. A comparison of what is no number is false, as a shell ends it with an error. */
export function evaluateTest(fields: readonly string[], files: FileTests): boolean | 'not understood' {
  if (fields.length > MAX_FIELDS) return 'not understood';
  for (const operator of ['-o', '-a']) {
    const at = fields.length > 3 ? fields.indexOf(operator, 1) : -1;
    if (at < 0) continue;
    const left = evaluateTest(fields.slice(0, at), files);
    const right = evaluateTest(fields.slice(at + 1), files);
    if (left === 'not understood' || right === 'not understood') return 'not understood';
    return operator === '-o' ? left || right : left && right;
  }
  const [first = '', second = '', third = ''] = fields;
  if (fields.length === 3 && (second === '=' || second === '==')) return first === third;
  if (fields.length === 3 && second === '!=') return first !== third;
  const compare = fields.length === 3 ? NUMBERS[second] : undefined;
  if (compare !== undefined)
    return isNumber(first) && isNumber(third) && compare(Number(first), Number(third));
  if (fields.length > 1 && first === '!') {
    const rest = evaluateTest(fields.slice(1), files);
    return rest === 'not understood' ? rest : !rest;
  }
  const ask = fields.length === 2 ? UNARY[first] : undefined;
  if (ask !== undefined) return ask(second, files);
  return fields.length < 2 ? first !== '' : 'not understood';
}

function isNumber(text: string): boolean {
  return /^[-+]?\d{1,15}$/.test(text);
}

/** What `$((TEXT))` is; `undefined` if it is not understood. Names without a value are 0. */
export function evaluateArithmetic(
  text: string,
  value: (name: string) => string | undefined,
): string | undefined {
  const tokens = text.match(/\d{1,15}|\$\$|\$?[A-Za-z_]\w*|\$\{[A-Za-z_]\w*\}|[-+*/%()]|\S/g) ?? [];
  let at = 0;
  const atom = (): number => {
    const token = tokens[at++] ?? '';
    if (token === '(') {
      const inside = sum();
      return tokens[at++] === ')' ? inside : Number.NaN;
    }
    if (/^\d/.test(token)) return Number(token);
    const name = token === '$$' ? '$' : token.replace(/^\$?\{?|\}$/g, '');
    if (!/^([A-Za-z_]\w*|\$)$/.test(name)) return Number.NaN;
    const found = value(name);
    if (found === '') return 0;
    return found !== undefined && isNumber(found) ? Number(found) : Number.NaN;
  };
  const product = (): number => {
    let result = atom();
    while (['*', '/', '%'].includes(tokens[at] ?? '')) {
      const operator = tokens[at++];
      const right = atom();
      if (right === 0 && operator !== '*') return Number.NaN;
      result =
        operator === '*' ? result * right : operator === '%' ? result % right : Math.trunc(result / right);
    }
    return result;
  };
  const sum = (): number => {
    let result = product();
    while (['+', '-'].includes(tokens[at] ?? '')) {
      const operator = tokens[at++];
      const right = product();
      result = operator === '+' ? result + right : result - right;
    }
    return result;
  };
  const result = sum();
  return at === tokens.length && Number.isSafeInteger(result) ? String(result) : undefined;
}

/** Whether a file has one of the words of `WORD\|WORD`; `undefined` for patterns that say more. */
export function matchesPlainPattern(pattern: string, text: string): boolean | undefined {
  const words = pattern.split('\\|');
  if (words.some((word) => word === '' || !/^[\w ,:;=@/-]+$/.test(word))) return undefined;
  return words.some((word) => text.includes(word));
}
