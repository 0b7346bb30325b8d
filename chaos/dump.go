package chaos

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// forwardedKey is what the upstream sees of a record's key.
func forwardedKey(key []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("up"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// DumpEmbedded reads the records of a gateway that has ended.
func DumpEmbedded(dir string) (all []Record, err error) {
	db, err := pebble.Open(filepath.Join(dir, "data", "dedup"), &pebble.Options{ReadOnly: true, Logger: silent{}})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{'r'}, UpperBound: []byte{'r' + 1}})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	all = []Record{}
	for ok := it.First(); ok; ok = it.Next() {
		r, err := record.Decode(it.Value())
		if err != nil {
			return nil, fmt.Errorf("record %x: %w", it.Key(), err)
		}
		r = r.At(time.Now())
		all = append(all, Record{Forwarded: forwardedKey(it.Key()[1:]), State: r.State.String(), Status: r.Status})
	}
	return all, it.Error()
}

// silent keeps Pebble's log out of ours.
type silent struct{}

// Infof implements pebble.Logger.
func (silent) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (silent) Errorf(string, ...any) {}

// Fatalf implements pebble.Logger.
func (silent) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
