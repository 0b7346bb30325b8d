// A provider for the tests of this folder's parent: OpenID Connect on loopback, with keys that change on command.
// It prints the issuer when it listens. A line on stdin names the keys to publish, the first of them signs; it answers "ok".
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

console.info = console.error; // stdout is for answers

const keys = new Map();
const key = (name) => {
  if (!keys.has(name)) {
    const alg = name.split('-')[0];
    const pair = alg === 'RS256' ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : alg === 'ES256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('ed25519');
    keys.set(name, { ...pair.privateKey.export({ format: 'jwk' }), kid: name, alg, use: 'sig' });
  }
  return keys.get(name);
};

const common = { redirect_uris: [], response_types: [], grant_types: ['client_credentials'], token_endpoint_auth_method: 'client_secret_basic' };
const clients = [
  { ...common, client_id: 'machine', client_secret: 'machine-secret-0123456789' },
  { ...common, client_id: 'gateway', client_secret: 'gateway-secret-0123456789' },
  {
    client_id: 'web', client_secret: 'web-secret-0123456789', application_type: 'native',
    redirect_uris: ['http://127.0.0.1/done'], response_types: ['code'], grant_types: ['authorization_code'],
    token_endpoint_auth_method: 'client_secret_basic',
  },
];

let issuer;
const provider = (names) => {
  const alg = names[0].split('-')[0];
  const made = new Provider(issuer, {
    clients: clients.map((c) => ({ ...c, id_token_signed_response_alg: alg })),
    jwks: { keys: names.map(key) },
    cookies: { keys: ['a key of these tests alone'] },
    pkce: { required: () => false },
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
    features: {
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      dPoP: { enabled: true },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, resource) => ({
          audience: resource, scope: 'orders:read orders:write', accessTokenTTL: 600,
          accessTokenFormat: resource.startsWith('https://opaque.') ? 'opaque' : 'jwt', jwt: { sign: { alg } },
        }),
      },
    },
  });
  return made.callback();
};

let handle;
const server = createServer((request, response) => handle(request, response));
server.listen(0, '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  handle = provider(['RS256-first']);
  console.log(issuer);
});
const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
  handle = provider(line.trim().split(/\s+/));
  console.log('ok');
});
lines.on('close', () => process.exit(0)); // whoever started it is gone
