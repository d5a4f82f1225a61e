import type { Request } from 'express';
import { z } from 'zod';
import { error } from './api-schemas.ts';

/** One path of the API, as it answers and as OpenAPI describes it. */
export interface ApiRoute {
  /** `/api/v1/repositories/:name` */
  readonly path: string;
  readonly summary: string;
  /** What the path's and the query's parameters mean. */
  readonly parameters?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string>>;
  readonly schema: z.ZodType;
  readonly answer: (request: Request) => Promise<unknown>;
}

/** The OpenAPI 3.1 description of the API, made from the very routes and schemas that answer. */
export function openApi(routes: readonly ApiRoute[]): object {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Airlock',
      version: '1',
      description:
        'Read only: nothing can be written over HTTP. Files themselves are under /repos/, with ranges, conditions and listings.',
    },
    paths: Object.fromEntries(routes.map((route) => [route.path.replace(/:(\w+)/g, '{$1}'), pathItem(route)])),
  };
}

function pathItem({ path, summary, schema, parameters = {}, query = {} }: ApiRoute): object {
  const names = [...path.matchAll(/:(\w+)/g)].map(([, name = '']) => name);
  const inPath = names.map((name) => parameter('path', name, parameters[name] ?? ''));
  const inQuery = Object.entries(query).map(([name, description]) => parameter('query', name, description));
  return {
    get: {
      summary,
      parameters: [...inPath, ...inQuery],
      responses: {
        200: { description: summary, ...content(schema) },
        default: { description: 'What went wrong, and what to do.', ...content(error) },
      },
    },
  };
}

function parameter(where: 'path' | 'query', name: string, description: string): object {
  return { name, in: where, required: where === 'path', description, schema: { type: 'string' } };
}

function content(schema: z.ZodType): object {
  const { $schema, ...document } = z.toJSONSchema(schema, { io: 'output' });
  return { content: { 'application/json': { schema: document } } };
}
