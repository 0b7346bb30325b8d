package e2e

import (
	"strconv"
	"strings"
	"testing"
)

const (
	firstKey  = "first-encryption-key-0123456789abcdef"
	secondKey = "second-encryption-key-0123456789abcde"
	thirdKey  = "third-encryption-key-0123456789abcdef"
)

// becomes changes the document and waits until the change is in force.
func (g *gateway) becomes(old, with string) {
	g.t.Helper()
	if !g.reloaded(func() { g.replace(old, with) }) {
		g.t.Fatalf("the change is refused: %s", g.log)
	}
}

// TestEncryptionKeysRotate: a new key seals, the old one still opens as long as it is named, and every change takes effect
// while the gateway serves.
func TestEncryptionKeysRotate(t *testing.T) {
	t.Parallel()
	d := openShared(t, nil, shared, 1)[0]
	d.kill()
	d.replace("store: embedded,", "store: embedded, encryption_key: "+firstKey+",")
	d.start()
	replayed := func(keys ...string) {
		t.Helper()
		for _, key := range keys {
			d.check(d.post("/orders/a", key, "{}"), 201, "replayed")
		}
	}
	lost := func(key string) {
		t.Helper()
		if r := d.problem(d.post("/orders/a", key, "{}"), 409, "result-unavailable yes true false"); r.member("original_status") != "201" {
			t.Error(r.body)
		}
	}
	d.check(d.post("/orders/a", "a", "{}"), 201, "executed")
	release, first := d.begins("/orders/during", "during", answers(201, "done"))
	d.becomes("encryption_key: "+firstKey, "encryption_key: "+secondKey+", previous_keys: ["+firstKey+"]")
	close(release)
	d.check(<-first, 201, "executed")
	d.check(d.post("/orders/a", "b", "{}"), 201, "executed")
	replayed("a", "b")
	d.check(d.post("/orders/during", "during", "{}"), 201, "replayed")
	d.kill() // a restart knows the same keys
	d.start()
	replayed("a", "b")
	d.becomes("encryption_key: "+secondKey+", previous_keys: ["+firstKey+"]", "encryption_key: "+thirdKey+", previous_keys: ["+secondKey+", "+firstKey+"]")
	d.check(d.post("/orders/a", "c", "{}"), 201, "executed")
	replayed("a", "b", "c")
	d.becomes(", "+firstKey+"]", "]")
	lost("a")
	replayed("b", "c")
	d.becomes(", previous_keys: ["+secondKey+"]", "")
	lost("a")
	lost("b")
	replayed("c")
	d.becomes("encryption_key: "+thirdKey, "encryption_key: "+firstKey+", previous_keys: ["+thirdKey+"]") // the first one is back
	replayed("a", "c")
	lost("b")
	d.up.count("/orders/a", 3)
	for _, key := range []string{firstKey, secondKey, thirdKey} {
		if strings.Contains(d.log.String(), key) {
			t.Error("a key stands in the log")
		}
	}
}

// TestEncryptionKeysRotateInAFleet: when every gateway can open the next key before one of them seals with it, no answer is
// missed at any moment of the change.
func TestEncryptionKeysRotateInAFleet(t *testing.T) {
	fleet := openShared(t, startRedis(t), shared, 2)
	one, other := fleet[0], fleet[1]
	for _, d := range fleet {
		d.kill()
		d.replace("store: redis,", "store: redis, encryption_key: "+firstKey+",")
		d.start()
	}
	n := 0
	both := func(step string) {
		t.Helper()
		for i, d := range fleet {
			key := step + strconv.Itoa(i)
			d.check(d.post("/orders/a", key, "{}"), 201, "executed")
			fleet[1-i].check(fleet[1-i].post("/orders/a", key, "{}"), 201, "replayed")
			one.check(one.post("/orders/a", "before0", "{}"), 201, "replayed")
			n++
		}
	}
	both("before")
	for i, d := range fleet {
		d.becomes("encryption_key: "+firstKey, "encryption_key: "+firstKey+", previous_keys: ["+secondKey+"]")
		both("opens" + strconv.Itoa(i))
	}
	for i, d := range fleet {
		d.becomes("encryption_key: "+firstKey+", previous_keys: ["+secondKey+"]", "encryption_key: "+secondKey+", previous_keys: ["+firstKey+"]")
		both("seals" + strconv.Itoa(i))
	}
	other.up.t = t
	other.up.count("/orders/a", n)
}
