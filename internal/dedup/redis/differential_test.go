package redis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/redistest"
)

// The differential test runs random calls against package record and against the scripts on Redis, at the same instants, and
// wants the same answers and the same record after each.

type twin struct {
	t     *testing.T
	rng   *rand.Rand
	store *Store
	now   *atomic.Int64 // ms
	model map[record.Key]record.Record
	trace []string
}

func TestScriptsDecideAsRecordDoes(t *testing.T) {
	server := redistest.Start(t)
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			now := &atomic.Int64{}
			now.Store(time.Now().UnixMilli())
			store, err := assemble(single(server), Deps{}, now.Load)
			if err != nil {
				t.Fatal(err)
			}
			if store, err = store.start(context.Background()); err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			w := &twin{t: t, rng: rand.New(rand.NewPCG(seed, 1)), store: store, now: now, model: map[record.Key]record.Record{}}
			for range 250 {
				w.step()
				if t.Failed() {
					t.Fatal(w.trace)
				}
			}
		})
	}
}

func (w *twin) at() time.Time { return time.UnixMilli(w.now.Load()) }

func (w *twin) millis(most int) time.Duration {
	return time.Duration(w.rng.IntN(most)) * time.Millisecond
}

func (w *twin) step() {
	key := numbered(w.rng.IntN(2))
	tok := record.Token{byte(1 + w.rng.IntN(3))}
	ctx := context.Background()
	switch w.rng.IntN(10) {
	case 0:
		w.now.Add(int64(w.rng.IntN(60_000)))
	case 1, 2, 3:
		w.begin(ctx, key, tok)
	case 4, 5:
		w.finish(ctx, key, tok)
	case 6:
		r, freed := w.model[key].Release(tok, w.at())
		got, err := w.store.Release(ctx, key, tok)
		w.judge("release", key, r, freed, freed, got, err)
	case 7:
		lease := w.millis(50_000)
		r, renewed := w.model[key].Renew(tok, lease, w.at())
		got, err := w.store.Renew(ctx, key, tok, lease)
		w.judge("renew", key, r, renewed, renewed, got, err)
	case 8:
		v := record.Resolution{Executed: w.rng.IntN(3) > 0, Epoch: uint32(w.rng.IntN(3)), Status: w.rng.IntN(2) * 202, Location: "/found", KeepKey: w.millis(100_000)}
		r, done := w.model[key].Resolve(tok, v, w.at())
		got, err := w.store.Resolve(ctx, key, tok, v)
		w.judge("resolve", key, r, done, done, got, err)
	case 9:
		w.erase(ctx)
	}
}

func (w *twin) begin(ctx context.Context, key record.Key, tok record.Token) {
	c := record.Claim{Fingerprint: record.Fingerprint{byte(w.rng.IntN(8) / 7)}, Token: tok, Lease: w.millis(40_000), KeepKey: w.millis(90_000),
		Subject: record.Subject{byte(w.rng.IntN(2))}, Route: "orders", Grant: w.rng.IntN(4) > 0, Reclaim: w.rng.IntN(4) == 0}
	r, want := w.model[key].Begin(c, w.at())
	got, err := w.store.Begin(ctx, key, c)
	w.judge("begin", key, r, want.Verdict == record.Acquired, want, got, err)
}

func (w *twin) finish(ctx context.Context, key record.Key, tok record.Token) {
	state := record.Completed + record.State(w.rng.IntN(3))
	res := record.Result{State: state, Fingerprint: record.Fingerprint{0}, Subject: record.Subject{1}, Route: "orders", Status: 200 + w.rng.IntN(3),
		RequestID: "id", Location: "/made", KeepAnswer: w.millis(60_000), KeepKey: w.millis(90_000)}
	if state == record.Completed {
		res.Answer = []byte(fmt.Sprintf("answer %d\x00\xff", w.rng.Int()))
	}
	r, want := w.model[key].Finish(tok, res, w.at())
	got, err := w.store.Finish(ctx, key, tok, res)
	w.judge("finish", key, r, want != record.Fenced, want, got, err)
}

func (w *twin) erase(ctx context.Context) {
	subject, want := record.Subject{byte(w.rng.IntN(2))}, record.Erased{}
	for key, r := range w.model {
		if r = r.At(w.at()); r.State != record.Absent && r.Subject == subject {
			want.Count(r)
			w.model[key] = r.Erase()
		}
	}
	got, err := w.store.Erase(ctx, subject)
	w.judge("erase", numbered(0), w.model[numbered(0)], false, want, got, err)
}

// judge takes over what the model changed, and compares the verdicts, and what is there now.
func (w *twin) judge(call string, key record.Key, r record.Record, changed bool, want, got any, err error) {
	w.t.Helper()
	w.trace = append(w.trace, fmt.Sprintf("%s at %d: %+v\n", call, w.now.Load(), want))
	if err != nil || !reflect.DeepEqual(want, got) {
		w.t.Errorf("%s: %+v, %v\nwant %+v", call, got, err, want)
	}
	if changed {
		w.model[key] = r
	}
	seen, err := w.store.Look(context.Background(), key)
	there := w.model[key].At(w.at())
	there.Answer = nil
	if err != nil || !reflect.DeepEqual(seen, there) {
		w.t.Errorf("after %s: %+v, %v\nwant %+v", call, seen, err, there)
	}
	listed, err := w.store.openKeys(context.Background(), bucketOf(key))
	if open := slices.Contains(listed, key); err != nil || there.Open() && !open || !there.Open() && seen.State != record.Absent && open {
		w.t.Errorf("after %s: listed as open %v, %v; it is %s", call, open, err, there.State)
	}
}
