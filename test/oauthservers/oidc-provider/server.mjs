// An authorization server made of oidc-provider, with its tokens in memory.
//
// Usage: server.mjs FILE. The file is the JSON of oauthservers.Config.
// NODE_MODULES is where oidc-provider is installed.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';

// An import looks beside this file only.
const require = createRequire(`${process.env.NODE_MODULES}/`);
const { default: Provider, errors } = await import(require.resolve('oidc-provider'));

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const scopes = [...new Set(config.clients.flatMap((client) => client.scope.split(' ')))];

const provider = new Provider(config.issuer, {
  clients: config.clients.map((client) => ({ ...client, redirect_uris: [], response_types: [] })),
  scopes,
  routes: { token: config.token_path, revocation: config.revocation_path, introspection: config.introspection_path },
  enabledJWA: { clientAuthSigningAlgValues: ['RS256', 'PS256', 'ES256'] },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      // With a resource the token is a JWT for it alone.
      getResourceServerInfo: (ctx, resource) => ({
        scope: scopes.join(' '), audience: resource, accessTokenTTL: config.token_life, accessTokenFormat: 'jwt',
      }),
    },
  },
  ttl: {
    AccessToken: config.token_life,
    ClientCredentials: config.token_life,
    RefreshToken: config.refresh_life,
    Grant: config.refresh_life,
  },
  rotateRefreshToken: true,
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
});

// OpenID Connect has no password grant, so neither has oidc-provider; those who
// want one register it like this.
const password = async (ctx, next) => {
  const { client, params } = ctx.oidc;
  if (config.users[params.username] !== params.password) {
    throw new errors.InvalidGrant('invalid credentials provided');
  }
  const scope = params.scope || client.scope;
  const grant = new provider.Grant({ accountId: params.username, clientId: client.clientId });
  grant.addOIDCScope(scope);
  const of = { accountId: params.username, client, gty: 'password', grantId: await grant.save(), scope };
  const access = new provider.AccessToken(of);
  ctx.oidc.entity('AccessToken', access);
  const refresh = new provider.RefreshToken({ ...of, rotations: 0 });
  ctx.oidc.entity('RefreshToken', refresh);
  ctx.body = {
    access_token: await access.save(),
    expires_in: access.expiration,
    refresh_token: await refresh.save(),
    scope,
    token_type: 'Bearer',
  };
  await next();
};
provider.registerGrantType('password', password, ['username', 'password', 'scope'], []);

for (const event of ['server_error', 'grant.error', 'revocation.error', 'introspection.error']) {
  provider.on(event, (ctx, error) => console.error(event, error.message, error.error_detail ?? ''));
}
createServer(provider.callback()).listen(config.port, '127.0.0.1');
