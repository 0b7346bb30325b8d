package h1

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// A piece is a copy buffer with room for a chunk's size line before the data and its CRLF behind.
const (
	chunkRoom  = 10 // eight hexadecimal digits and CRLF
	pieceSize  = chunkRoom + copyBuffer + 2
	lastChunk  = "0\r\n\r\n"
	hexDigits  = "0123456789abcdef"
	pushPiece  = 256 << 10        // what one write of a body in memory is given, so that its progress is seen
	secureWait = time.Millisecond // under TLS waiting bytes may be no more than a session ticket
)

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

func short() error { return fmt.Errorf("%w: %w", pipeline.BadRequest, errShortBody) }

// upload copies the client's body. The upstream never sees a complete request when the client's was not: then the connection
// is closed. An early answer ends the upload.
func (k *call) upload() error {
	piece := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(piece)
	left := k.body.length
	for left != 0 {
		room := piece[chunkRoom : chunkRoom+copyBuffer]
		if left > 0 && left < int64(len(room)) {
			room = room[:left]
		}
		n, err := k.readClient(room)
		if n > 0 {
			if left > 0 {
				left -= int64(n)
			}
			start := time.Now()
			if err := k.push(frame(piece, n, k.body.length < 0)); err != nil || k.early {
				return err
			}
			k.taken(time.Since(start))
		}
		switch {
		case err == io.EOF && left > 0:
			return short()
		case err == io.EOF && left < 0:
			return k.push([]byte(lastChunk))
		case err != nil && err != io.EOF:
			return err
		}
	}
	return nil
}

// readClient reads from the client; the time it takes is the client's own.
func (k *call) readClient(b []byte) (int, error) {
	start := time.Now()
	n, err := k.body.stream.Read(b)
	k.taken(time.Since(start))
	return n, err
}

// taken moves the end of the try and of the exchange by what a piece of the body took on its way: a long upload that goes on is
// not cut, its silences are bounded.
func (k *call) taken(d time.Duration) {
	k.start = k.start.Add(d)
	postpone(k.x, d)
}

// frame makes a chunk of the n bytes that stand at their place in the piece.
func frame(piece *[pieceSize]byte, n int, chunked bool) []byte {
	if !chunked {
		return piece[chunkRoom : chunkRoom+n]
	}
	copy(piece[chunkRoom+n:], "\r\n")
	at := chunkRoom - 2
	copy(piece[at:], "\r\n")
	for v := n; v > 0; v >>= 4 {
		at--
		piece[at] = hexDigits[v&15]
	}
	return piece[at : chunkRoom+n+2]
}

// push writes b and watches for an answer that comes before the request is complete: k.early tells that one is there.
func (k *call) push(b []byte) error {
	silent := time.Duration(0)
	for len(b) > 0 {
		if k.answered() {
			return nil
		}
		now := time.Now()
		if k.past(now) {
			return fmt.Errorf("%w: the body was not sent in time", pipeline.UpstreamTimeout)
		}
		n, err := k.write(b[:min(len(b), pushPiece)], now)
		b = b[n:]
		switch {
		case err == nil:
			silent = 0
		case !timedOut(err) || k.c.secure:
			if k.earlyAnswer() {
				return nil
			}
			return k.lost(err)
		case n > 0:
			silent = 0
		default:
			if silent += waitSlice; silent >= k.lim.IdleBody {
				return fmt.Errorf("%w: the upstream takes no more of the body", pipeline.UpstreamTimeout)
			}
			if err := k.stalled(); err != nil || k.early {
				return err
			}
		}
	}
	return nil
}

// write waits for one slice; TLS can't go on after a write that timed out, so it waits for the whole limit at once.
func (k *call) write(b []byte, now time.Time) (int, error) {
	wait := waitSlice
	if k.c.secure || k.lim.IdleBody < wait {
		wait = k.lim.IdleBody
	}
	_ = k.c.nc.SetWriteDeadline(now.Add(wait))
	return k.c.nc.Write(b)
}

// past reports that the try or the exchange ran out of time; what the pieces before this one took was added.
func (k *call) past(now time.Time) bool {
	return k.lim.Try > 0 && now.After(k.start.Add(k.lim.Try)) || !k.x.Deadline.IsZero() && now.After(k.x.Deadline)
}

// stalled is called when a slice passed without progress. An upstream that answers while it no longer reads is believed.
func (k *call) stalled() error {
	if n, err := headEnd(k.c.buffered(), 0); n > 0 && err == nil {
		k.early = true
		now := time.Now()
		k.setLimit(now)
		k.arm(now)
		return nil
	}
	if !k.x.Keyed && k.x.Gone() {
		return pipeline.ClientGone
	}
	return nil
}

// answered reports whether a final answer began to arrive that makes the rest of the body pointless. Interim answers, and a
// success that comes while the body is still wanted, let the upload go on.
func (k *call) answered() bool {
	ready, _ := k.c.readable()
	if !ready && len(k.c.buffered()) == 0 {
		return false
	}
	if ready && len(k.c.buffered()) < readBuffer {
		k.c.setRead(time.Now().Add(secureWait))
		if err := k.c.fill(); err != nil {
			return false // the write finds out
		}
	}
	k.out.Heard = true
	status, ok := peekStatus(k.c.buffered())
	k.early = ok && status >= 300
	if k.early {
		now := time.Now()
		k.setLimit(now)
		k.arm(now)
	}
	return k.early
}

// earlyAnswer waits a moment for an answer after a write failed: an upstream that refuses a body often says why first.
func (k *call) earlyAnswer() bool {
	now := time.Now()
	k.limit = now.Add(earlyWait)
	k.c.setRead(k.limit)
	for {
		if n, err := headEnd(k.c.buffered(), 0); n > 0 || err != nil {
			k.early = err == nil
			return k.early
		}
		if k.c.fill() != nil {
			return false
		}
		k.out.Heard = true
	}
}
