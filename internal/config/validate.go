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

// Validate checks keys that are too short to protect anything, and what a store of a fleet needs.
func (c *StateConfig) Validate(p units.Problems) {
	if key := c.EncryptionKey.Reveal(); key != "" && len(key) < answer.MinKey {
		p.Key("encryption_key").Add("has %d bytes, at least %d are needed", len(key), answer.MinKey)
	}
	seen := map[string]bool{c.EncryptionKey.Reveal(): true}
	for i, key := range c.PreviousKeys {
		at := p.Key("previous_keys").Index(i)
		switch n := len(key.Reveal()); {
		case n < answer.MinKey:
			at.Add("has %d bytes, at least %d are needed", n, answer.MinKey)
		case seen[key.Reveal()]:
			at.Add("is there already")
		}
		seen[key.Reveal()] = true
	}
	if len(c.PreviousKeys) > 0 && c.EncryptionKey == "" {
		p.Key("previous_keys").Add("need an encryption_key that came after them")
	}
	if c.Store == "redis" && len(c.Redis.Addresses) == 0 {
		p.Key("store").Add("redis needs redis.addresses")
	}
}

// Validate checks the addresses, and that the kind of deployment has what it needs.
func (c *RedisConfig) Validate(p units.Problems) {
	for i, address := range c.Addresses {
		if _, _, err := splitAddress(address); err != nil {
			p.Key("addresses").Index(i).Add("%s", err)
		}
	}
	switch {
	case c.Mode == "sentinel" && c.Master == "" && len(c.Addresses) > 0:
		p.Key("mode").Add("sentinel needs the name of the primary in master")
	case c.Mode == "single" && len(c.Addresses) > 1:
		p.Key("addresses").Add("single takes one address; several belong to sentinel or cluster")
	case c.Mode == "cluster" && c.Database != 0:
		p.Key("database").Add("a cluster has only database 0")
	}
	if strings.ContainsAny(c.Prefix, "{} \t\r\n") {
		p.Key("prefix").Add("has braces or spaces: braces would decide where a cluster puts its keys")
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
