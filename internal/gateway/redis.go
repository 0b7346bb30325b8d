package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/redis"
	"github.com/oncegate/oncegate/internal/observe"
	"github.com/oncegate/oncegate/internal/redisconn"
)

// redisTime bounds the look for Redis at the start; one that can't be reached is found in the background.
const redisTime = 10 * time.Second

func (s *State) openRedis(cfg config.StateConfig, r *records, deps *dedup.Deps) (dedup.Store, error) {
	if err := s.openSpool(cfg, r, deps); err != nil {
		return nil, err
	}
	there, err := redisConfig(cfg.Redis)
	if err != nil {
		return nil, fmt.Errorf("state.redis: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), redisTime)
	defer cancel()
	store, err := redis.Open(ctx, there, redis.Deps{Log: s.Logger, Recorder: redisMetrics{s.Metrics}})
	if err != nil {
		return nil, fmt.Errorf("state.redis: %w", err)
	}
	r.closers, deps.Secrets = append(r.closers, store.Close), store
	return store, nil
}

func redisConfig(c config.RedisConfig) (redis.Config, error) {
	there := redis.Config{
		Server: redisconn.Server{
			Mode: c.Mode, Addresses: c.Addresses, Master: c.Master, Username: c.Username, Password: c.Password.Reveal(), Database: c.Database,
		},
		Prefix: c.Prefix, WaitReplicas: c.WaitReplicas,
	}
	if c.TLS == nil {
		return there, nil
	}
	there.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.TLS.ServerName}
	if c.TLS.CA == "" {
		return there, nil
	}
	pem, err := os.ReadFile(c.TLS.CA)
	if err != nil {
		return there, fmt.Errorf("tls.ca: %w", err)
	}
	there.TLS.RootCAs = x509.NewCertPool()
	if !there.TLS.RootCAs.AppendCertsFromPEM(pem) {
		return there, errors.New("tls.ca: the file holds no certificate in PEM form")
	}
	return there, nil
}

// redisMetrics leaves out the calls that the records measure themselves.
type redisMetrics struct{ *observe.Metrics }

// StoreTime implements redis.Recorder.
func (m redisMetrics) StoreTime(op string, d time.Duration, failed bool) {
	if op != "begin" && op != "finish" {
		m.Metrics.StoreTime(op, d, failed)
	}
}
