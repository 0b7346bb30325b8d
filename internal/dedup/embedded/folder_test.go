package embedded

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// first encodes a record as version 1 did.
func first(r record.Record) []byte {
	b := append([]byte{1, byte(r.State)}, r.Fingerprint[:]...)
	b = append(b, r.Token[:]...)
	for _, instant := range []int64{r.Begun, r.Lease, r.AnswerUntil, r.KeyUntil} {
		b = binary.BigEndian.AppendUint64(b, uint64(instant))
	}
	b = binary.BigEndian.AppendUint16(b, uint16(r.Status))
	for _, part := range []string{r.RequestID, r.Location, string(r.Answer)} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	return b
}

// firstFolder makes a folder as format 1 was: answers inside the records, due entries at what comes first, and only what is in
// flight in the index of open records.
func firstFolder(t *testing.T, path string, now time.Time) {
	t.Helper()
	db, err := pebble.Open(path, &pebble.Options{})
	if err != nil {
		t.Fatal(err)
	}
	set := func(k, v []byte) {
		if err := db.Set(k, v, pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	set(metaKey("format"), []byte("1"))
	set(metaKey("secret"), []byte(strings.Repeat("s", 32)))
	for n, state := range []record.State{record.Completed, record.Sealed, record.Unknown, record.InFlight} {
		r := record.Record{State: state, Token: token(n), Begun: now.UnixNano(), KeyUntil: now.Add(3 * time.Hour).UnixNano()}
		switch state {
		case record.Completed:
			r.Status, r.Answer, r.AnswerUntil = 200, []byte("answer"), now.Add(time.Hour).UnixNano()
		case record.InFlight:
			r.Lease = now.Add(time.Minute).UnixNano()
			set(openKey(key(n)), nil)
		}
		set(recordKey(key(n)), first(r))
		set(dueKey(r.Due(), key(n)), nil)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFirstFormatIsTakenOver(t *testing.T) {
	path, c := t.TempDir(), newClock()
	firstFolder(t, path, c.Now())
	for range 2 { // the second time as format 2
		s := open(t, path, Options{now: c.Now})
		if string(s.secret[:]) != strings.Repeat("s", 32) {
			t.Error("another secret")
		}
		for n, want := range []record.Verdict{record.Replay, record.NotKept, record.Undetermined, record.Undetermined} {
			f := begin(t, s, n, record.Token{9})
			if f.Verdict != want || n == 0 && string(f.Answer) != "answer" {
				t.Errorf("record %d: %s %q, want %s", n, f.Verdict, f.Answer, want)
			}
		}
		found := map[record.Key]bool{}
		if err := s.Open(t.Context(), func(k record.Key, r record.Record) bool { found[k] = r.State == record.Unknown; return true }); err != nil {
			t.Error(err)
		}
		if len(found) != 2 || !found[key(2)] || !found[key(3)] {
			t.Errorf("open are %v", found)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRecordsOfTheFirstFormatAge(t *testing.T) {
	path, c := t.TempDir(), newClock()
	firstFolder(t, path, c.Now())
	s := open(t, path, Options{now: c.Now})
	finish(t, s, 2, record.Completed)
	finish(t, s, 3, record.Completed)
	if n := count(t, s, openPrefix); n != 0 {
		t.Errorf("%d entries of open records came back", n)
	}
	if o, err := s.Finish(t.Context(), key(0), token(0), record.Result{State: record.Sealed}); err != nil || o != record.Stored {
		t.Errorf("a repeated word: %s, %v", o, err)
	}
	if f := begin(t, s, 0, record.Token{9}); f.Verdict != record.Replay || string(f.Answer) != "answer" {
		t.Errorf("after a repeated word: %s %q", f.Verdict, f.Answer)
	}
	c.Advance(time.Hour + 1)
	sweep(t, s, 0)
	if r, err := s.read(key(0)); err != nil || r.State != record.Sealed || len(r.Answer) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	c.Advance(2 * time.Hour)
	sweep(t, s, 4)
	counts(t, s, 0, 0, 0)
}

func TestOneBrokenRecordDoesNotKeepTheRestFromOpening(t *testing.T) {
	path := t.TempDir()
	s := open(t, path, Options{})
	begin(t, s, 1, token(1))
	begin(t, s, 2, token(2))
	if err := s.db.Set(recordKey(key(1)), []byte("garbage"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, Options{})
	if f := begin(t, s, 2, record.Token{9}); f.Verdict != record.Undetermined {
		t.Error(f.Verdict)
	}
	if f, err := s.Begin(context.Background(), key(1), record.Claim{Grant: true}); err == nil {
		t.Errorf("the broken one: %s", f.Verdict)
	}
}

func TestOtherFormatAndDamagedSecretAreRefused(t *testing.T) {
	for name, value := range map[string]string{"format": "3", "secret": "short"} {
		path := t.TempDir()
		s := open(t, path, Options{})
		if err := s.db.Set([]byte("m"+name), []byte(value), nil); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, Options{Ballast: -1}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
