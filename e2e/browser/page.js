// What a page does through the gateway. Each step gives a text; TestBrowser compares them with its table. The upstream is the
// second hand: where something must not be held back it sends the next piece only when the page says that it has the last one.
import { api, bearer } from '/setup.js';

const within = (promise, what, ms = 5000) => Promise.race([promise, new Promise((_, no) => setTimeout(() => no(new Error(`${what}: not within ${ms} ms`)), ms))]);
const once = (target, name) => within(new Promise(yes => target.addEventListener(name, yes, { once: true })), name);
const text = async (url, options) => (await fetch(url, options)).text();
const tell = what => text(`/told/${what}`, { method: 'POST' });
const wss = (path, origin = location.origin) => origin.replace('https', 'wss') + path;
const hex = async bytes => Array.from(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)), b => b.toString(16).padStart(2, '0')).join('');

// closing is how a WebSocket ends.
async function closing(socket) {
  const event = await once(socket, 'close');
  return `${event.code} ${event.reason} ${event.wasClean ? 'clean' : 'not clean'}`;
}

async function opened(path, protocols) {
  const socket = new WebSocket(wss(path), protocols);
  socket.binaryType = 'arraybuffer';
  await once(socket, 'open');
  return socket;
}

// echoed sends and gives what comes back.
async function echoed(socket, message) {
  const back = once(socket, 'message');
  socket.send(message);
  return (await back).data;
}

let socket, source;
const events = [];

const steps = {
  'protocol of the page': () => performance.getEntriesByType('navigation')[0].nextHopProtocol,
  'protocol of the script': () => performance.getEntriesByType('resource').find(r => r.name.endsWith('/page.js')).nextHopProtocol,
  'image': async () => {
    const image = document.getElementById('dot');
    await within(image.decode(), 'image');
    return `${image.naturalWidth} x ${image.naturalHeight}`;
  },

  'WebSocket opens': async () => {
    socket = await opened('/echo', ['other', 'chat']);
    return `${socket.protocol} ${socket.extensions}`;
  },
  'WebSocket text': () => echoed(socket, 'grüße, 世界'),
  'WebSocket empty': async () => `<${await echoed(socket, '')}>`,
  'WebSocket 100 KB': async () => {
    const bytes = new Uint8Array(100 * 1024);
    for (let at = 0; at < bytes.length; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
    const back = await echoed(socket, bytes);
    return `${back.byteLength} ${await hex(back) === await hex(bytes) ? 'the same' : 'others'}`;
  },
  'WebSocket 100 messages': async () => {
    const got = [];
    const all = within(new Promise(yes => { socket.onmessage = e => { if (got.push(e.data) === 100) yes(); }; }), '100 messages');
    for (let n = 0; n < 100; n++) socket.send(String(n));
    await all;
    socket.onmessage = null;
    return got.every((data, n) => data === String(n)) ? 'in order' : got.join();
  },

  'EventSource opens': async () => {
    source = new EventSource('/events');
    source.onmessage = e => events.push(`${e.lastEventId} ${e.data}`);
    await once(source, 'open');
    return source.readyState;
  },
  'events one by one': async () => {
    for (let n = 1; n <= 3; n++) {
      const event = once(source, 'message');
      await tell('event'); // the upstream sends the next event now, and not before
      await event;
    }
    return events.join(', ');
  },

  'reload': () => text('/reload', { method: 'POST' }),
  'WebSocket after the reload': () => echoed(socket, 'still here'),
  'event after the reload': async () => {
    const event = once(source, 'message');
    await tell('event');
    return (await event).data;
  },
  'page after the reload': async () => {
    await text('/late');
    return performance.getEntriesByType('resource').find(r => r.name.endsWith('/late')).nextHopProtocol;
  },

  'EventSource comes again': async () => {
    const [gone, event] = [once(source, 'error'), once(source, 'message')];
    await tell('end');
    await gone;
    return (await event).data; // what the upstream saw as Last-Event-ID
  },
  'EventSource closes': () => { source.close(); return source.readyState; },

  'WebSocket closed by the page': async () => {
    const end = closing(socket);
    socket.close(4001, 'enough');
    return end;
  },
  'WebSocket closed by the upstream': async () => closing(await opened('/leaves')),
  'WebSocket of a route that takes none': () => closing(new WebSocket(wss('/plain'))),
  'WebSocket of another site': () => closing(new WebSocket(wss('/shut/echo', api))),
  'WebSocket without a token': () => closing(new WebSocket(wss('/mine/echo'))),

  'download piece by piece': async () => {
    const reader = (await fetch('/pieces')).body.getReader();
    const got = [];
    for (;;) {
      const { done, value } = await within(reader.read(), 'a piece');
      if (done) return got.join();
      got.push(new TextDecoder().decode(value));
      await tell('piece');
    }
  },
  'download given up': async () => {
    const stop = new AbortController();
    const answer = await fetch('/endless', { signal: stop.signal });
    await answer.body.getReader().read();
    stop.abort();
    return text('/ended'); // answered when the upstream has noticed
  },
  'upload piece by piece': async () => {
    let n = 0;
    const body = new ReadableStream({
      async pull(to) {
        if (n === 3) return to.close();
        to.enqueue(new TextEncoder().encode(String(++n)));
        await text('/arrived'); // answered when the upstream has the piece
      },
    });
    return within(text('/upload', { method: 'POST', body, duplex: 'half' }), 'upload');
  },
  'large upload': async () => {
    const bytes = new Uint8Array(3 << 20).fill(7);
    return await text('/sum', { method: 'POST', body: bytes }) === await hex(bytes) ? 'the same' : 'others';
  },

  'cookie': async () => `${await text('/cookie')}, then ${await text('/cookie')}, script sees <${document.cookie}>`,
  'cookie to another origin': async () => {
    const include = { credentials: 'include' };
    return `${await text(`${api}/cookie`, include)}, then ${await text(`${api}/cookie`, include)}, left out ${await text(`${api}/cookie`, { credentials: 'omit' })}`;
  },
  'origin that is not allowed': () => text(`${api}/shut/x`).catch(e => e.name),
  'refusal from another origin': async () => {
    const answer = await fetch(`${api}/mine/x`);
    return `${answer.status} ${(await answer.json()).type} ${answer.headers.get('WWW-Authenticate')}`;
  },
  'method that is not allowed': () => text(`${api}/plain`, { method: 'DELETE' }).catch(e => e.name),
  'keyed write': () => order('{"n":1}'),
  'keyed write again': () => order('{"n":1}'),
  'keyed write with another body': () => order('{"n":2}'),
};

// order posts to another origin, which needs a preflight; the key is of this run.
const key = crypto.randomUUID();
async function order(body) {
  const answer = await fetch(`${api}/orders`, { method: 'POST', body, headers: { 'Authorization': bearer, 'Idempotency-Key': key, 'Content-Type': 'application/json' } });
  const said = answer.headers.get('Content-Type').startsWith('application/problem') ? (await answer.json()).type : await answer.text();
  return `${answer.status} ${answer.headers.get('Idempotency-Status')} ${said}`;
}

const results = {};
for (const [name, step] of Object.entries(steps)) {
  try {
    results[name] = String(await step());
  } catch (e) {
    results[name] = `failed: ${e.message}`;
  }
}
await fetch('/report', { method: 'POST', body: JSON.stringify(results) });
