package auth

import (
	"fmt"
	"maps"
	"time"

	"github.com/oncegate/oncegate/internal/auth/keyset"

	"github.com/go-json-experiment/json"
)

const usualTTL = time.Hour

// Sign makes a token of an issuer whose signing key the config holds: its secret, or a private key in PEM among its key
// files. It fills in iss, aud, iat and exp (an hour) where claims do not say them; exp and iat are Unix seconds. It is for
// development, and signs what it is asked for: Foresee tells whether the token would be of any use.
func Sign(cfg IssuerConfig, claims map[string]any, now time.Time) (string, error) {
	algorithm, key, err := signingKey(cfg)
	if err != nil {
		return "", err
	}
	all := map[string]any{"iss": cfg.Issuer, "aud": audienceOf(cfg), "iat": now.Unix(), "exp": now.Add(usualTTL).Unix()}
	maps.Copy(all, claims)
	if sub, ok := all["sub"].(string); !ok || sub == "" {
		return "", fmt.Errorf("sub has to be given")
	}
	head := map[string]any{"alg": algorithm.Name, "typ": "JWT"}
	if cfg.Typ != "" {
		head["typ"] = cfg.Typ
	}
	first, errHead := json.Marshal(head, json.Deterministic(true))
	second, errClaims := json.Marshal(all, json.Deterministic(true))
	if errHead != nil || errClaims != nil {
		return "", fmt.Errorf("claims can't be written as JSON")
	}
	signed := strict.EncodeToString(first) + "." + strict.EncodeToString(second)
	signature, err := algorithm.Sign(signed, key)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return signed + "." + strict.EncodeToString(signature), nil
}

func audienceOf(cfg IssuerConfig) any {
	if len(cfg.Audiences) == 1 {
		return cfg.Audiences[0]
	}
	return cfg.Audiences
}

func signingKey(cfg IssuerConfig) (*keyset.Algorithm, any, error) {
	if cfg.Introspection != nil {
		return nil, nil, fmt.Errorf("the issuer has no signing key: its tokens are asked about")
	}
	list, err := allowed(cfg)
	if err != nil {
		return nil, nil, err
	}
	if cfg.Secret != "" {
		return list[0], []byte(cfg.Secret.Reveal()), nil
	}
	if len(cfg.Keys) == 0 {
		return nil, nil, fmt.Errorf("the document holds no signing key of this issuer: its keys are public ones from %s", cfg.JWKS)
	}
	signer, algorithm, err := keyset.SigningKey(cfg.Keys, list)
	return algorithm, signer, err
}

// Foresee asks the issuer's own rules about a token that Sign has made; the error says why it would be refused.
func Foresee(cfg IssuerConfig, signed string, now time.Time) error {
	t, ok := split([]byte(signed))
	if !ok {
		return fmt.Errorf("the token is longer than %d bytes", maxToken)
	}
	payload, ok := decode(nil, t.payload)
	if !ok {
		return fmt.Errorf("the token is malformed")
	}
	i := &issuer{cfg: cfg, typ: mediaType(cfg.Typ), leeway: cfg.Leeway.Std().Seconds(), lifetime: cfg.MaxLifetime.Std().Seconds()}
	if i.lifetime == 0 {
		i.lifetime = usualLifetime.Seconds()
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	c, ok := parseClaims(s, payload)
	if !ok {
		return fmt.Errorf("the claims are too deep or too many")
	}
	if reason := i.check(c, &header{typ: i.typ}, &entry{}, now); reason != accepted {
		return fmt.Errorf("%s", reasonTable[reason].text)
	}
	return nil
}
