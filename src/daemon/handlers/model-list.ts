import type { Handler } from './handler.ts';

export const modelList: Handler<'model.list'> = async (_request, { artifacts }) => ({
  models: await artifacts.listModels(),
});
