package upstream

import (
	"context"
	"io"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Trailers of an answer pass, but for those that only a head may say.
func TestHTTP2AnswerTrailers(t *testing.T) {
	f := newFramer(t, first(func(f *framer, id uint32) {
		f.head(id, false, ":status", "200")
		_ = f.WriteData(id, false, []byte("ok"))
		f.head(id, true, "x-sum", "1", "content-length", "9", "authorization", "x", "x-sum", "2")
	}))
	r := newRig(t, defaults(f.url))
	m := get("a")
	body, err := r.do(m)
	wantOK(t, body, err)
	var got []string
	m.Trailers.Each(func(name, value string) { got = append(got, name+"="+value) })
	if len(got) != 2 || got[0] != "X-Sum=1" || got[1] != "X-Sum=2" {
		t.Error(got)
	}
}

// breaking is the body of an HTTP/2 client that is waited for and then breaks off.
type breaking struct{ off chan struct{} }

func (b *breaking) Read([]byte) (int, error) { <-b.off; return 0, pipeline.ClientGone }
func (b *breaking) Interrupt()               {}

// A client that breaks off its own body while the answer flows is no fault of the target.
func TestHTTP2ClientBreaksOff(t *testing.T) {
	f := newFramer(t, func(f *framer) {
		if id := f.request(); id != 0 {
			f.head(id, false, ":status", "200")
			f.next(http2.FrameRSTStream)
		}
	})
	r := newRig(t, defaults(f.url))
	b := &breaking{make(chan struct{})}
	m := upload("a", b, -1)
	m.HTTP2 = true
	if err := r.Serve(context.Background(), &m.Exchange); err != nil {
		t.Fatal(err)
	}
	close(b.off)
	if _, err := m.Sent.ReadBody(); pipeline.KindOf(err) != pipeline.ClientGone || m.Attempt.Broken || err == io.EOF {
		t.Errorf("%v, broken %v", err, m.Attempt.Broken)
	}
	if r.set.Load().targets[0].node.record.Out() {
		t.Error("ejected")
	}
}

// A client that leaves while its answer is awaited ends the stream within a second.
func TestHTTP2ClientLeaves(t *testing.T) {
	for name, begun := range map[string]bool{"before the head": false, "in the body": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			came, reset := make(chan struct{}), make(chan bool, 1)
			f := newFramer(t, func(f *framer) {
				id := f.request()
				if id == 0 {
					return
				}
				if begun {
					f.head(id, false, ":status", "200")
				}
				close(came)
				reset <- f.next(http2.FrameRSTStream) != nil
			})
			r := newRig(t, defaults(f.url))
			m := get("a")
			go func() { <-came; m.Leave() }()
			if _, err := r.do(m); pipeline.KindOf(err) != pipeline.ClientGone {
				t.Error(err)
			}
			select {
			case ended := <-reset:
				if !ended {
					t.Error("the connection ended with the stream")
				}
			case <-time.After(time.Second):
				t.Error("the stream goes on")
			}
		})
	}
}
