package observe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestFlushAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &buffer{}
		log := NewAccessLog(sink)
		defer log.Close()
		log.Write([]byte("a\n"))
		time.Sleep(flushAfter - time.Millisecond)
		log.Write([]byte("b\n"))
		synctest.Wait()
		if sink.lines() != 0 {
			t.Error("written before its time: no lines are gathered")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if sink.String() != "a\nb\n" || sink.writes != 1 {
			t.Errorf("%q in %d writes, want both lines in one", sink.String(), sink.writes)
		}
		log.Write([]byte("c\n"))
		time.Sleep(flushAfter + time.Millisecond)
		synctest.Wait()
		if sink.String() != "a\nb\nc\n" {
			t.Errorf("%q: the goroutine does not go on", sink.String())
		}
	})
}

func TestFlushWhenFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &buffer{}
		log := NewAccessLog(sink)
		defer log.Close()
		line := append(bytes.Repeat([]byte("x"), 1023), '\n')
		for range flushAt / len(line) {
			log.Write(line)
		}
		synctest.Wait()
		if sink.lines() != flushAt/len(line) {
			t.Errorf("%d lines written without a pause, want all", sink.lines())
		}
	})
}

func TestCloseFlushes(t *testing.T) {
	sink := &buffer{}
	log := NewAccessLog(sink)
	log.Write([]byte("last\n"))
	if err := log.Close(); err != nil || sink.String() != "last\n" {
		t.Errorf("%v, %q", err, sink.String())
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	if log.Write([]byte("late\n")); log.Dropped() != 1 || sink.lines() != 1 {
		t.Errorf("a late line: %d dropped, %q", log.Dropped(), sink.String())
	}
}

func TestBlockedSinkDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &buffer{gate: make(chan struct{}), begun: make(chan struct{})}
		log := NewAccessLog(sink)
		line := append(bytes.Repeat([]byte("x"), 1023), '\n')
		log.Write(line)
		<-sink.begun // the first line hangs in the sink
		for range 2000 {
			log.Write(line) // must not block
		}
		if want := uint64(2001 - maxWaiting/len(line)); log.Dropped() != want {
			t.Errorf("%d dropped, want %d", log.Dropped(), want)
		}
		go func() {
			for range sink.begun {
			}
		}()
		close(sink.gate)
		log.Close()
		close(sink.begun)
		if sink.lines() != maxWaiting/len(line) {
			t.Errorf("%d lines written, want all that were kept", sink.lines())
		}
	})
}

func TestCloseDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &buffer{gate: make(chan struct{})}
		log := NewAccessLog(sink)
		log.Write([]byte("a\n"))
		began := time.Now()
		if err := log.Close(); err == nil || time.Since(began) > closeWithin {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		close(sink.gate)
	})
}

type brokenSink struct{}

func (brokenSink) Write(p []byte) (int, error) {
	return bytes.IndexByte(p, '\n') + 1, errors.New("pipe")
}

func TestBrokenSinkIsCounted(t *testing.T) {
	log := NewAccessLog(brokenSink{})
	log.Write([]byte("a\nb\nc\n"))
	log.Close()
	if log.Dropped() != 2 {
		t.Errorf("%d dropped, want the two that were not written", log.Dropped())
	}
}

// Access lines and other lines of many goroutines share a sink without cutting into each other.
func TestLoggerSharesTheSink(t *testing.T) {
	sink := &buffer{}
	log := NewAccessLog(sink)
	logger := NewLogger(log, slog.LevelInfo)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			x, end := fullExchange()
			line := appendLine(nil, &x.Exchange, end, "orders")
			for i := range 200 {
				log.Write(line)
				logger.Info("other", "g", g, "i", i)
				logger.Debug("hidden")
			}
		})
	}
	wg.Wait()
	log.Close()
	counts := map[string]int{}
	for _, line := range strings.Split(strings.TrimSuffix(sink.String(), "\n"), "\n") {
		var got struct{ Msg, Time, Level string }
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if at, err := time.Parse("2006-01-02T15:04:05.000Z", got.Time); err != nil || at.IsZero() || got.Level != "INFO" {
			t.Fatalf("%v: %s", err, line)
		}
		counts[got.Msg]++
	}
	if fmt.Sprint(counts) != "map[other:1600 request:1600]" {
		t.Error(counts)
	}
}

func TestPromptLinesDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sink bytes.Buffer
		a := NewAccessLog(&sink)
		start := time.Now()
		if _, err := a.Prompt().Write([]byte("now\n")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if sink.String() != "now\n" || time.Since(start) != 0 {
			t.Errorf("%q after %v", sink.String(), time.Since(start))
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
