/**
 * Jinja as Python's does it. The interpreter is that of `@huggingface/jinja`; this class sets right what it does
 * otherwise than Jinja2 under Python and what chat templates meet: what a value is as text (`None`, `True`, lists),
 * `strip` with characters, equality by content, concatenation of text with something else (an error), loops over
 * text.
 */
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja';
import {
  callMethod,
  capitalized,
  isArray,
  isMapping,
  isString,
  isUndefined,
  jinjaArray,
  jinjaBoolean,
  jinjaInteger,
  jinjaString,
  pythonEquals,
  pythonStrip,
  pythonText,
  STRING_METHODS,
  titled,
  type Value,
} from './jinja_values.ts';

/** A node of a parsed template, as far as it is looked at here. */
export interface JinjaNode {
  type: string;
  [field: string]: unknown;
}

/** A template as a tree. */
export interface JinjaProgram extends JinjaNode {
  body: JinjaNode[];
}

/** An expression whose value is known. */
interface HeldNode extends JinjaNode {
  type: 'Held';
  held: Value;
}

/** Statements; everything else in a block is an expression, whose value is written out. */
const STATEMENTS: ReadonlySet<string> = new Set([
  'Program',
  'If',
  'For',
  'Break',
  'Continue',
  'Set',
  'Macro',
  'Comment',
  'CallStatement',
  'FilterStatement',
]);

/** Parses as `transformers` does: with `trim_blocks` and `lstrip_blocks`. Throws a SyntaxError. */
export function parseJinja(template: string): JinjaProgram {
  return parse(tokenize(template, { trim_blocks: true, lstrip_blocks: true })) as unknown as JinjaProgram;
}

/** Renders a parsed template with variables, made by `jinjaValue`. */
export function renderJinja(program: JinjaProgram, names: Iterable<readonly [string, Value]>): string {
  const environment = new Environment();
  for (const [name, value] of names) environment.setVariable(name, value as Variable);
  return String(new PythonInterpreter(environment).evaluate(program, environment).value);
}

type Variable = Parameters<Environment['setVariable']>[1];

/** The methods of the library's interpreter that are overridden: TypeScript alone calls them private. */
interface OpenInterpreter {
  /** An end of a slice may be absent. */
  evaluate(node: JinjaNode | undefined, environment: Environment): Value;
}
const OpenInterpreter = Interpreter as unknown as new (environment: Environment) => OpenInterpreter;

class PythonInterpreter extends OpenInterpreter {
  override evaluate(node: JinjaNode | undefined, environment: Environment): Value {
    switch (node?.type) {
      case 'Held':
        return (node as HeldNode).held;
      case 'BinaryExpression':
        return this.#binary(node, environment);
      case 'CallExpression':
        return this.#call(node, environment);
      case 'FilterExpression':
        return this.#filter(node, environment);
      case 'For':
        return this.#loop(node, environment);
      default:
        return super.evaluate(node, environment);
    }
  }

  /** Overrides the library's: values are written as Python's `str` gives them. */
  evaluateBlock(statements: readonly JinjaNode[], environment: Environment): Value {
    let text = '';
    for (const statement of statements) {
      const value = this.evaluate(statement, environment);
      if (isString(value)) text += value.value;
      else if (!STATEMENTS.has(statement.type)) text += pythonText(value);
    }
    return jinjaString(text);
  }

  #binary(node: JinjaNode, environment: Environment): Value {
    const operator = (node.operator as { value: string }).value;
    if (operator === 'and' || operator === 'or') return super.evaluate(node, environment);
    const left = this.evaluate(node.left as JinjaNode, environment);
    const right = this.evaluate(node.right as JinjaNode, environment);
    switch (operator) {
      case '==':
      case '!=':
        return jinjaBoolean(pythonEquals(left, right) === (operator === '=='));
      case '~':
        return jinjaString(pythonText(left) + pythonText(right));
      case '+':
        if (isString(left) && isString(right)) return jinjaString(left.value + right.value);
        if (isString(left) || isString(right))
          throw new Error(`text and ${kindOf(isString(left) ? right : left)} cannot be added`);
        break;
      case 'in':
      case 'not in':
        if (isArray(right)) {
          const found = right.value.some((each) => pythonEquals(each, left));
          return jinjaBoolean(found === (operator === 'in'));
        }
        break;
    }
    return super.evaluate({ ...node, left: held(left), right: held(right) }, environment);
  }

  #call(node: JinjaNode, environment: Environment): Value {
    const callee = node.callee as JinjaNode;
    const name = methodName(callee);
    if (name === undefined || !STRING_METHODS.has(name)) return super.evaluate(node, environment);
    const object = this.evaluate(callee.object as JinjaNode, environment);
    if (!isString(object))
      return super.evaluate({ ...node, callee: { ...callee, object: held(object) } }, environment);
    const { args, named } = this.#arguments(node.args as JinjaNode[], environment);
    return callMethod(object.value, name, args, named);
  }

  #arguments(
    nodes: readonly JinjaNode[],
    environment: Environment,
  ): { args: Value[]; named: Map<string, Value> } {
    const args: Value[] = [];
    const named = new Map<string, Value>();
    for (const node of nodes) {
      if (node.type === 'KeywordArgumentExpression') {
        const value = this.evaluate(node.value as JinjaNode, environment);
        named.set((node.key as { value: string }).value, value);
      } else {
        args.push(this.evaluate(node, environment));
      }
    }
    return { args, named };
  }

  #filter(node: JinjaNode, environment: Environment): Value {
    const filter = node.filter as JinjaNode;
    const name = (filter.type === 'CallExpression' ? (filter.callee as JinjaNode) : filter).value;
    const operand = this.evaluate(node.operand as JinjaNode, environment);
    switch (name) {
      case 'trim': {
        const { args, named } = this.#arguments((filter.args as JinjaNode[] | undefined) ?? [], environment);
        const chars = args[0] ?? named.get('chars');
        return jinjaString(
          pythonStrip(pythonText(operand), chars && isString(chars) ? chars.value : undefined, 'both'),
        );
      }
      case 'string':
        return jinjaString(pythonText(operand));
      case 'capitalize':
        return jinjaString(capitalized(pythonText(operand)));
      case 'title':
        return jinjaString(titled(pythonText(operand)));
      case 'length':
      case 'count':
        if (isString(operand)) return jinjaInteger([...operand.value].length);
        if (isArray(operand)) return jinjaInteger(operand.value.length);
        break;
      case 'list':
        if (isString(operand)) return jinjaArray([...operand.value].map(jinjaString));
        break;
      case 'select':
      case 'reject': {
        const { args } = this.#arguments((filter.args as JinjaNode[] | undefined) ?? [], environment);
        const [test, other] = args;
        if (!isArray(operand) || !test || !isString(test)) break;
        const passes = (item: Value) => this.#passes(item, test.value, other, environment);
        return jinjaArray(operand.value.filter((item) => passes(item) === (name === 'select')));
      }
    }
    return super.evaluate({ ...node, operand: held(operand) }, environment);
  }

  /** Whether a value passes a test by name, which may compare it with another. */
  #passes(item: Value, test: string, other: Value | undefined, environment: Environment): boolean {
    if (other === undefined) {
      const node = { type: 'TestExpression', operand: held(item), negate: false };
      return (
        this.evaluate({ ...node, test: { type: 'Identifier', value: test } }, environment).value === true
      );
    }
    if (['equalto', 'eq', '=='].includes(test)) return pythonEquals(item, other);
    if (['ne', '!='].includes(test)) return !pythonEquals(item, other);
    if (test === 'in' && isArray(other)) return other.value.some((each) => pythonEquals(each, item));
    throw new Error(`the test ${test} is not known to compare with another value`);
  }

  #loop(node: JinjaNode, environment: Environment): Value {
    const iterable = node.iterable as JinjaNode;
    const selected = iterable.type === 'SelectExpression';
    const source = (selected ? iterable.lhs : iterable) as JinjaNode;
    const value = this.evaluate(source, environment);
    const items = held(isString(value) ? jinjaArray([...value.value].map(jinjaString)) : value);
    // Undefined has no elements, as Jinja2's has none.
    const known = isUndefined(value) ? held(jinjaArray([])) : items;
    return super.evaluate({ ...node, iterable: selected ? { ...iterable, lhs: known } : known }, environment);
  }
}

function held(value: Value): HeldNode {
  return { type: 'Held', held: value };
}

/** The name in `object.name(...)`. */
function methodName(callee: JinjaNode): string | undefined {
  if (callee.type !== 'MemberExpression' || callee.computed === true) return undefined;
  return (callee.property as { value: string }).value;
}

function kindOf(value: Value): string {
  if (isArray(value)) return 'a list';
  if (isMapping(value)) return 'a mapping';
  return isUndefined(value) ? 'something undefined' : pythonText(value);
}
