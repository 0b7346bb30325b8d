package redis

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// Records are spread over buckets. The names of a bucket share a hash tag, so a step has all it needs in one cluster slot.
const (
	buckets = 1024
	slots   = 16384
)

// bucketOf takes the first ten bits: keys are hashes.
func bucketOf(key record.Key) int { return int(binary.BigEndian.Uint16(key[:]) >> 6) }

type names struct {
	prefix string
	slot   [buckets]int // of a bucket's hash tag
}

func newNames(prefix string) (*names, error) {
	if prefix == "" || strings.ContainsAny(prefix, "{}*?[]\\ \t\r\n") {
		return nil, errors.New("the key prefix must not be empty and must not contain braces, spaces or any of *?[]\\")
	}
	n := &names{prefix: prefix}
	for b := range n.slot {
		n.slot[b] = slotOf(tag(b))
	}
	return n, nil
}

func tag(bucket int) string { return fmt.Sprintf("%03x", bucket) }

// of gives the names of a record, of its answer, and of its bucket's open records.
func (n *names) of(key record.Key) []string {
	b := bucketOf(key)
	stem := n.prefix + ":{" + tag(b) + "}:"
	id := base64.RawURLEncoding.EncodeToString(key[:])
	return []string{stem + "r:" + id, stem + "a:" + id, stem + "open"}
}

func (n *names) open(bucket int) string { return n.prefix + ":{" + tag(bucket) + "}:open" }

func (n *names) secret() string { return n.prefix + ":secret" }

// generation and erased are in the secret's slot.
func (n *names) generation() string { return n.beside("generation") }

func (n *names) erased() string { return n.beside("erased") }

func (n *names) beside(what string) string { return n.prefix + ":{" + n.secret() + "}:" + what }

// recordKey reads the name of a record.
func (n *names) recordKey(name string) (key record.Key, ok bool) {
	_, id, ok := strings.Cut(strings.TrimPrefix(name, n.prefix), "}:r:")
	if !ok {
		return key, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil || len(raw) != len(key) {
		return key, false
	}
	copy(key[:], raw)
	return key, true
}

// slotOf is the cluster slot of a hash tag, or of a name without one: CRC-16/XMODEM modulo 16384 (cluster specification).
func slotOf(name string) int {
	var crc uint16
	for i := range len(name) {
		crc ^= uint16(name[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % slots
}
