package h1

import (
	"errors"
	"net"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// draft is what is known of a head before anybody could read it. When fasthttp says that it can't, it has given its buffer to
// another connection: what is to be kept of it has to be taken before.
type draft struct {
	text []byte // the head so far, in fasthttp's buffer; nil when it doesn't lie there in one piece, and when it is over
	id   []byte // the caller's request id; empty: none. Its own bytes, kept from head to head
	left bool   // the client left in the middle
}

// add takes the first n bytes of p, a piece that is not the last if it does not make the head whole or fills p, which is all
// the room there is.
func (d *draft) add(p []byte, n int, whole bool) {
	switch size := len(d.text); {
	case size == 0:
		d.text, d.id = p[:n], d.id[:0]
	case cap(d.text)-size >= n && &d.text[:size+1][size] == &p[0]:
		d.text = d.text[:size+n]
	default:
		d.text = nil
	}
	if whole || n == len(p) {
		d.close()
	}
}

func (d *draft) close() {
	d.id = append(d.id[:0], wire.FindRequestID(d.text)...)
	d.text = nil
}

// breakOff notes that nothing follows. It does nothing when nothing came before.
func (d *draft) breakOff(err error) {
	if len(d.text) == 0 {
		return
	}
	d.close()
	d.left = !isTimeout(err) && !errors.Is(err, net.ErrClosed) && pipeline.KindOf(err) != pipeline.BadRequest
}
