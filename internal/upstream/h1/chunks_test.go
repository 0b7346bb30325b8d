package h1

import (
	"bytes"
	"io"
	"net/http/httputil"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// decode runs the decoder over b in pieces of n bytes, as a connection would.
func decode(b []byte, n int) (content []byte, used int, err error) {
	var d chunks
	var held []byte
	for at := 0; ; {
		skip, data, err := d.next(held)
		held = held[skip:]
		used += skip
		switch {
		case err == errNeedMore && at == len(b):
			return content, used, io.ErrUnexpectedEOF
		case err == errNeedMore:
			end := min(at+n, len(b))
			held = append(bytes.Clone(held), b[at:end]...)
			at = end
			continue
		case err != nil:
			return content, used, err
		case d.step == atEnd:
			return content, used, nil
		}
		content = append(content, held[:data]...)
		held = held[data:]
		used += data
		d.took(data)
	}
}

func TestChunks(t *testing.T) {
	for in, want := range map[string]string{
		"0\r\n\r\n":                                              "",
		"2\r\nok\r\n0\r\n\r\n":                                   "ok",
		"002;a=b ; c\r\nok\r\n0;x\r\n\r\n":                       "ok",
		"A \r\n0123456789\r\n0\r\nT: 1\r\n\r\n":                  "0123456789",
		"2\r\nok\r\n0\r\n\r\nrest":                               "ok",
		"2\nok\r\n0\r\n\r\n":                                     "!",
		"2\r\nok\n0\r\n\r\n":                                     "!",
		"2\r\nokk\r\n0\r\n\r\n":                                  "!",
		"\r\n0\r\n\r\n":                                          "!",
		" 2\r\nok\r\n0\r\n\r\n":                                  "!",
		"-2\r\nok\r\n0\r\n\r\n":                                  "!",
		"0x2\r\nok\r\n0\r\n\r\n":                                 "!",
		"2 2\r\nok\r\n0\r\n\r\n":                                 "!",
		"2;a\rb\r\nok\r\n0\r\n\r\n":                              "!",
		"2;a\x00\r\nok\r\n0\r\n\r\n":                             "!",
		"8000000000000000\r\nok":                                 "!",
		"fffffffffffffff\r\nok":                                  "cut",
		"2\r\nok\r\n0\r\nno colon\r\n\r\n":                       "!",
		"2\r\nok\r\n0\r\n: x\r\n\r\n":                            "!",
		"2\r\nok\r\n":                                            "cut",
		"2\r\nok\r\n0\r\n":                                       "cut",
		"2\r\nok\r\n0\r\n\r":                                     "cut",
		"2;" + strings.Repeat("a", 5000) + "\r\nok\r\n0\r\n\r\n": "!",
		"2\r\nok\r\n0\r\n" + strings.Repeat("T: "+strings.Repeat("a", 900)+"\r\n", 20) + "\r\n": "!",
	} {
		for _, n := range []int{1, 3, len(in)} {
			got, used, err := decode([]byte(in), n)
			switch {
			case want == "!" && err == errChunk:
			case want == "cut" && err == io.ErrUnexpectedEOF:
			case err == nil && string(got) == want && in[used:] == strings.TrimPrefix(in[used:], "\r"):
			default:
				t.Errorf("%.40q by %d: %q, %v; want %q", in, n, got, err, want)
			}
		}
	}
}

// What is decoded at once equals what is decoded in pieces, and net/http agrees wherever we accept.
func FuzzChunks(f *testing.F) {
	for _, seed := range []string{"2\r\nok\r\n0\r\n\r\n", "1;x\r\na\r\n0\r\nT: 1\r\n\r\nrest", "2\r\nok\r\n0\r\n"} {
		f.Add([]byte(seed), 1)
	}
	f.Fuzz(func(t *testing.T, in []byte, n int) {
		got, used, err := decode(in, 1+(n&0xff))
		whole, wholeUsed := decodeWhole(bytes.Clone(in), nil)
		if (wholeUsed > 0) != (err == nil) || err == nil && (!bytes.Equal(got, whole) || used != wholeUsed) {
			t.Fatalf("in pieces %q %d %v, at once %q %d", got, used, err, whole, wholeUsed)
		}
		if err != nil {
			return
		}
		want, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(in)))
		if err != nil || !bytes.Equal(want, got) {
			t.Fatalf("%q: %q, net/http %q %v", in, got, want, err)
		}
	})
}

// Trailers are given to who wants them, in one piece or byte by byte, but none that frames, routes or identifies a message.
func TestTrailersOfChunks(t *testing.T) {
	in := []byte("2\r\nok\r\n0\r\ngrpc-status:  0 \r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 9\r\nHost: x\r\nx_y: 1\r\nb ad: 1\r\nEmpty:\r\n\r\n")
	const want = "grpc-status=0;X-A=1;X-A=2;Empty=;"
	said := func(all *pipeline.Trailers) (text string) {
		all.Each(func(name, value string) { text += name + "=" + value + ";" })
		return text
	}
	whole := &pipeline.Trailers{}
	if body, used := decodeWhole(bytes.Clone(in), whole); string(body) != "ok" || used != len(in) || said(whole) != want {
		t.Errorf("%q, %d, %q", body, used, said(whole))
	}
	d, pieces := chunks{}, &pipeline.Trailers{}
	d.into = pieces
	for from, to := 0, 1; to <= len(in); to++ {
		skip, n, err := d.next(in[from:to])
		if from += skip; err == nil {
			d.took(n)
			from += n
		} else if err != errNeedMore {
			t.Fatal(err)
		}
	}
	if said(pieces) != want {
		t.Errorf("%q", said(pieces))
	}
}
