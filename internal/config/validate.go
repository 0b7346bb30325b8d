package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/oncegate/oncegate/internal/answer"
	"github.com/oncegate/oncegate/internal/units"
)

// Validate checks the address, and that an API which others can reach has a token.
func (c *AdminConfig) Validate(p units.Problems) {
	host, _, err := splitAddress(c.Address)
	if err != nil {
		p.Key("address").Add("%s", err)
		return
	}
	if c.Token == "" && !isLoopback(host) {
		p.Key("address").Add("is not loopback: it needs a token beside it, or 127.0.0.1 as its host")
	}
}

// Validate refuses the store that is not built yet, and a key that is too short to protect anything.
func (c *StateConfig) Validate(p units.Problems) {
	if key := c.EncryptionKey.Reveal(); key != "" && len(key) < answer.MinKey {
		p.Key("encryption_key").Add("has %d bytes, at least %d are needed", len(key), answer.MinKey)
	}
	if c.Store == "redis" {
		p.Key("store").Add("redis is not available in this version")
	}
}

// Validate checks the addresses.
func (c *RedisConfig) Validate(p units.Problems) {
	for i, address := range c.Addresses {
		if _, _, err := splitAddress(address); err != nil {
			p.Key("addresses").Index(i).Add("%s", err)
		}
	}
}

// splitAddress reads host:port with a port from 0 to 65535.
func splitAddress(address string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(address)
	if err != nil {
		return "", "", fmt.Errorf("%q is not host:port, such as 127.0.0.1:8080 or :8080", address)
	}
	n, err := strconv.ParseUint(port, 10, 32)
	if err != nil || n > 65535 {
		return "", "", fmt.Errorf("%q has no port from 0 to 65535", address)
	}
	if strings.ContainsAny(host, " \t/@?#") {
		return "", "", fmt.Errorf("%q is not host:port, such as 127.0.0.1:8080 or :8080", address)
	}
	return host, port, nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
