package chaos

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// book is a ledger of its own process, with a way to write to it.
type book struct {
	t    *testing.T
	up   *Upstream
	file string
}

func openBook(t *testing.T) *book {
	t.Helper()
	b := &book{t: t, file: filepath.Join(t.TempDir(), "ledger.jsonl")}
	var err error
	if b.up, err = StartLedger(b.file); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.up.Close() })
	return b
}

// send gives the status and body; 0 when no whole answer came.
func (b *book) send(key string, s Script) (int, string) {
	b.t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		b.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.up.URL+"/w", strings.NewReader(string(text)))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Idempotency-Key", key)
	req.Header.Set(callField, "c1")
	got, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return 0, ""
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		return 0, ""
	}
	return got.StatusCode, string(body)
}

// asked gives the status of the upstream's word on a forwarded key.
func (b *book) asked(key string) int {
	b.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	got, err := client.Get(b.up.URL + "/executions/" + key)
	if err != nil {
		b.t.Fatal(err)
	}
	_ = got.Body.Close()
	return got.StatusCode
}

func (b *book) lines() []Execution {
	b.t.Helper()
	all, err := ReadLedger(b.file)
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

// Whatever becomes of the answer, what was executed stands in the file before it.
func TestLedgerNotesBeforeItAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		script Script
		status int
		effect bool
	}{
		{"ok", Script{}, 201, true},
		{"fails", Script{Status: 503}, 503, true},
		{"frees", Script{Status: 429}, 429, false},
		{"dies before", Script{Die: DieBefore}, 0, false},
		{"dies after", Script{Die: DieAfter}, 0, true},
		{"half", Script{Die: DieHalf}, 0, true},
		{"stream", Script{Stream: true, Size: 1000}, 201, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := openBook(t)
			status, _ := b.send("k", c.script)
			lines := b.lines()
			if status != c.status || len(lines) != 1 || lines[0].Effect != c.effect || lines[0].Call != "c1" || lines[0].Forwarded != "k" {
				t.Errorf("%d, %+v", status, lines)
			}
		})
	}
}

func TestLedgerRunsAScriptItsTimes(t *testing.T) {
	b := openBook(t)
	for i, want := range []int{429, 429, 201} {
		if got, _ := b.send("k", Script{Status: 429, Times: 2}); got != want {
			t.Errorf("arrival %d: %d, want %d", i, got, want)
		}
	}
}

// An upstream that honours the key tells dispatches from effects, and can be asked.
func TestLedgerHonoursTheKey(t *testing.T) {
	b := openBook(t)
	if got := b.asked("k"); got != 404 {
		t.Errorf("before: %d", got)
	}
	_, first := b.send("k", Script{Dedup: true})
	_, again := b.send("k", Script{Dedup: true})
	lines := b.lines()
	if first != again || first == "" || len(lines) != 2 || !lines[0].Effect || lines[1].Effect {
		t.Errorf("%s, %s, %+v", first, again, lines)
	}
	if got := b.asked("k"); got != 200 {
		t.Errorf("after: %d", got)
	}
}

// A kept history is read as it was written.
func TestHistoryIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.jsonl")
	h, err := NewHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	done, open := &Call{ID: "c1", Slot: mine}, &Call{ID: "c2", Slot: mine, Variant: "wrong"}
	h.Invoke(done)
	h.Invoke(open)
	h.Fault(FaultStop, "g0")()
	h.Ended(done, func(c *Call) { c.Answer = real201("x1") })
	calls, faults := h.Snapshot()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	gotCalls, gotFaults, err := ReadHistory(path)
	if err != nil || !reflect.DeepEqual(gotCalls, calls) || !reflect.DeepEqual(gotFaults, faults) {
		t.Errorf("%v\n%+v\n%+v\n%+v\n%+v", err, gotCalls, calls, gotFaults, faults)
	}
	if calls[0].Means() != Real || calls[1].Means() != Nothing {
		t.Errorf("%s, %s", calls[0].Means(), calls[1].Means())
	}
}
