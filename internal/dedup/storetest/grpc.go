package storetest

import (
	"bytes"
	"context"
	"testing"

	"github.com/oncegate/oncegate/internal/answer"
	"github.com/oncegate/oncegate/internal/dedup/record"
)

// GRPCAnswer is a stored answer of a gRPC call: its status stands behind the body, with bytes of every kind.
func GRPCAnswer() []byte {
	var b answer.Builder
	b.Begin(200)
	b.Field([]byte("Content-Type"), []byte("application/grpc"))
	b.Trailer([]byte("Grpc-Status"), []byte("9"))
	b.Trailer([]byte("Grpc-Message"), []byte("%E2%82%AC, and \x00\r\n\xff"))
	b.Trailer([]byte("Grpc-Status-Details-Bin"), bytes.Repeat([]byte("A"), 40<<10))
	return b.End([]byte("\x00\x00\x00\x00\x01m"))
}

// testGRPCAnswer: the status of a call comes back as it went in, to the attempt itself and to whoever looks later.
func testGRPCAnswer(t *testing.T, f fixture) {
	f.claim()
	res := Result(record.Completed)
	res.Status, res.Answer = 200, GRPCAnswer()
	if outcome, err := f.Store.Finish(context.Background(), key, mine, res); err != nil || outcome != record.Stored {
		t.Fatalf("%s, %v", outcome, err)
	}
	found := f.expect(record.Replay)
	a, err := answer.Decode(found.Answer)
	if err != nil || !bytes.Equal(found.Answer, GRPCAnswer()) {
		t.Fatalf("%d bytes of %d, %v", len(found.Answer), len(GRPCAnswer()), err)
	}
	n := 0
	a.EachTrailer(func(_, _ []byte) { n++ })
	if n != 3 || string(a.Body) != "\x00\x00\x00\x00\x01m" {
		t.Errorf("%d trailers, body %q", n, a.Body)
	}
}
