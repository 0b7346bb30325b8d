package gateway

import (
	"context"
	"fmt"

	"github.com/oncegate/oncegate/internal/auth/dpop"
	"github.com/oncegate/oncegate/internal/auth/dpop/redis"
	revoked "github.com/oncegate/oncegate/internal/auth/revoke/redis"
	"github.com/oncegate/oncegate/internal/config"
)

// shareProofs gives the store of used proofs; nil when they are this process's own. The first document with an issuer that has
// proofs, and with a Redis, opens it.
func (s *State) shareProofs(doc *config.Document) (dpop.Replays, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replays == nil && len(doc.State.Redis.Addresses) > 0 && proves(doc) {
		there, err := redisConfig(doc.State.Redis)
		if err != nil {
			return nil, fmt.Errorf("state.redis: %w", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), redisTime)
		defer cancel()
		s.replays, err = redis.Open(ctx, revoked.Config{Server: there.Server, Prefix: there.Prefix}, s.Logger)
		if err != nil {
			s.replays = nil
			return nil, fmt.Errorf("state.redis: %w", err)
		}
		if nonces(doc) == nil && asksNonces(doc) {
			s.Logger.Warn("nonces of proofs are this process's own: gateways of a fleet take each other's only with the same state.encryption_key")
		}
	}
	if s.replays == nil {
		return nil, nil
	}
	return s.replays, nil
}

func proves(doc *config.Document) bool {
	for _, i := range doc.Issuers {
		if i.DPoP != nil {
			return true
		}
	}
	return false
}

func asksNonces(doc *config.Document) bool {
	for _, i := range doc.Issuers {
		if i.DPoP != nil && i.DPoP.Nonce {
			return true
		}
	}
	return false
}

// nonces are those of all gateways with the document's encryption key; nil without one. While the key is changed, nonces of
// the earlier keys are taken, too.
func nonces(doc *config.Document) *dpop.Nonces {
	current := doc.State.EncryptionKey.Reveal()
	if current == "" {
		return nil
	}
	secrets := [][]byte{[]byte(current)}
	for _, key := range doc.State.PreviousKeys {
		secrets = append(secrets, []byte(key.Reveal()))
	}
	return dpop.NewNonces(secrets...)
}

func (s *State) closeProofs() error {
	if s.replays == nil {
		return nil
	}
	return s.replays.Close()
}
