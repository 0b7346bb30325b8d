package pipeline

import (
	"errors"
	"testing"
	"time"
)

func TestKeepBody(t *testing.T) {
	body := []byte("0123456789")
	for name, c := range map[string]struct {
		m    *Memory
		kept bool
	}{
		"short":             {NewMemory("POST", "/").WithBody(body), true},
		"just short enough": {NewMemory("POST", "/").WithBody(append(body, body...)[:16]), true},
		"long":              {NewMemory("POST", "/").WithBody(append(body, body...)), false},
		"of unknown length": {NewMemory("POST", "/").WithChunkedBody(body), false},
	} {
		x := &c.m.Exchange
		x.Deadline = time.Now().Add(time.Second)
		before := x.Deadline
		if err := x.KeepBody(16); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, whole := x.Request.Buffered(); whole != c.kept {
			t.Errorf("%s: in memory: %v", name, whole)
		}
		if x.Deadline.Equal(before) == c.kept {
			t.Errorf("%s: the time that reading took is the client's: the deadline moved by %v", name, x.Deadline.Sub(before))
		}
		again := x.Deadline
		if err := x.KeepBody(16); err != nil || !x.Deadline.Equal(again) {
			t.Errorf("%s: a second time: %v, the deadline moved by %v", name, err, x.Deadline.Sub(again))
		}
	}
	broken := errors.New("reset")
	m := NewMemory("POST", "/").WithBody(body).WithBodyError(broken)
	if err := m.KeepBody(16); !errors.Is(err, broken) {
		t.Error(err)
	}
}
