// A plugin of typedoc: guides are called by their first heading, not by the names of their files.
import { Converter } from 'typedoc';

export function load(app) {
  app.converter.on(Converter.EVENT_CREATE_DOCUMENT, (_context, document) => {
    const heading = /^\s*# (.+)\n/.exec(document.content[0]?.text ?? '');
    if (heading === null) throw new Error(`${document.name}: a guide begins with a heading`);
    document.name = heading[1].replaceAll('`', '');
  });
}
