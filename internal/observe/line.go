package observe

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// maxText bounds every text that comes from a client or an error.
const maxText = 512

// appendLine appends the access line of a request, with its newline. The encoder is written out because it runs for every
// request and must not allocate; every text goes through AppendJSONString, so the line is valid JSON whatever was sent.
func appendLine(dst []byte, x *pipeline.Exchange, end pipeline.End, route string) []byte {
	dst = append(dst, `{"time":"`...)
	dst = appendTime(dst, end.At)
	dst = append(dst, `","level":"INFO","msg":"request","request_id":`...)
	dst = pipeline.AppendJSONString(dst, cut(x.ID, maxText))
	dst = append(dst, `,"trace_id":"`...)
	dst = hex.AppendEncode(dst, x.Trace.ID[:])
	dst = append(dst, '"')
	dst = appendText(dst, `,"route":`, route)
	dst = appendText(dst, `,"method":`, x.Request.Method())
	dst = appendText(dst, `,"path":`, x.Request.Path())
	dst = appendInt(dst, `,"status":`, int64(end.Status))
	if code, ok := codeOf(x, end); ok {
		dst = appendText(dst, `,"grpc_status":`, codeWord(code))
	}
	dst = appendText(dst, `,"kind":`, kindOf(x, end))
	dst = appendText(dst, `,"client":`, clientOf(x, end))
	dst = appendPeer(dst, x)
	dst = append(dst, `,"client_ip":"`...)
	if x.PeerIP != nil && x.ClientIP == x.Peer.Addr() {
		dst = append(dst, x.PeerIP...)
	} else {
		dst = appendAddr(dst, x.ClientIP)
	}
	dst = append(dst, '"')
	dst = appendText(dst, `,"upstream":`, x.Attempt.Upstream)
	dst = appendText(dst, `,"target":`, x.Attempt.Target)
	dst = appendInt(dst, `,"attempts":`, int64(x.Attempt.Count))
	if x.Attempt.Retried != "" {
		dst = appendText(dst, `,"retried":`, x.Attempt.Retried)
	}
	if x.Attempt.Fallback != "" {
		dst = appendText(dst, `,"fallback":`, x.Attempt.Fallback)
	}
	dst = append(dst, `,"duration_ms":`...)
	dst = appendMillis(dst, took(x, end))
	dst = append(dst, `,"upstream_ms":`...)
	dst = appendMillis(dst, x.Attempt.Duration)
	dst = appendInt(dst, `,"bytes_in":`, end.BytesIn)
	dst = appendInt(dst, `,"bytes_out":`, end.BytesOut)
	if tellsError(end) {
		dst = appendText(dst, `,"error":`, redact(end.Err.Error()))
	}
	dst = append(dst, `,"replayed":`...)
	dst = strconv.AppendBool(dst, x.Replayed)
	return append(dst, '}', '\n')
}

// took is zero when the edge did not say when the head was read.
func took(x *pipeline.Exchange, end pipeline.End) time.Duration {
	if x.Start.IsZero() {
		return 0
	}
	return end.At.Sub(x.Start)
}

// kindOf is the refusal, or why an answer that had begun did not end: its status went out already.
func kindOf(x *pipeline.Exchange, end pipeline.End) string {
	switch {
	case end.Kind != 0:
		return end.Kind.Slug()
	case !end.Aborted:
		return ""
	case x.Attempt.Broken:
		return pipeline.UpstreamFailed.Slug()
	}
	return pipeline.ClientGone.Slug()
}

// clientOf is the subject of whoever asked, also of one that was known and refused (403). A 401 has none: nobody was verified.
func clientOf(x *pipeline.Exchange, end pipeline.End) string {
	if x.Client.Anonymous() && end.Kind == pipeline.Forbidden {
		return x.Refused
	}
	return x.Client.Subject
}

// tellsError: the chain behind a refusal helps where something of ours or behind us failed. Refusals of the client's own
// making may carry what it sent, and say enough by their kind.
func tellsError(end pipeline.End) bool {
	if end.Err == nil {
		return false
	}
	if _, bare := end.Err.(pipeline.Refusal); bare {
		return false // the kind says it already
	}
	switch end.Kind {
	case pipeline.UpstreamFailed, pipeline.UpstreamTimeout, pipeline.UpstreamOpen, pipeline.OutcomeUnknown, pipeline.ResultUnavailable,
		pipeline.StoreUnavailable, pipeline.AuthUnavailable, pipeline.Overloaded, pipeline.Internal:
		return true
	}
	return false
}

// redact cuts query strings and user info out of URLs that libraries put into their errors. Cold path.
func redact(text string) string {
	if strings.ContainsRune(text, '?') || strings.Contains(text, "://") {
		words := strings.Split(text, " ")
		for i, w := range words {
			if before, _, found := strings.Cut(w, "?"); found {
				words[i] = before + "?[redacted]"
			}
			if scheme, rest, found := strings.Cut(words[i], "://"); found {
				if _, host, user := strings.Cut(rest, "@"); user {
					words[i] = scheme + "://[redacted]@" + host
				}
			}
		}
		text = strings.Join(words, " ")
	}
	return text
}

func cut[T string | []byte](s T, n int) T {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// appendText appends a member; key is as it stands in the line, with its comma and colon.
func appendText[T string | []byte](dst []byte, key string, value T) []byte {
	dst = append(dst, key...)
	return pipeline.AppendJSONString(dst, cut(value, maxText))
}

func appendInt(dst []byte, key string, value int64) []byte {
	dst = append(dst, key...)
	return strconv.AppendInt(dst, value, 10)
}

func appendPeer(dst []byte, x *pipeline.Exchange) []byte {
	dst = append(dst, `,"peer":"`...)
	switch addr := x.Peer.Addr(); {
	case !addr.IsValid():
	case x.PeerIP != nil && addr.Is4():
		dst = append(dst, x.PeerIP...)
		dst = append(dst, ':')
		dst = strconv.AppendUint(dst, uint64(x.Peer.Port()), 10)
	default:
		dst = netip.AddrPortFrom(addr.WithZone(""), x.Peer.Port()).AppendTo(dst)
	}
	return append(dst, '"')
}

// appendAddr leaves the zone out: it may hold any byte, and a trusted proxy may have copied it from a client.
func appendAddr(dst []byte, addr netip.Addr) []byte {
	if !addr.IsValid() {
		return dst
	}
	return addr.WithZone("").AppendTo(dst)
}

// appendMillis writes milliseconds with three decimals.
func appendMillis(dst []byte, d time.Duration) []byte {
	us := max(0, d.Microseconds())
	dst = strconv.AppendInt(dst, us/1000, 10)
	return append(dst, '.', digit(us/100), digit(us/10), digit(us))
}

type secondText struct {
	second int64
	text   [len("2006-01-02T15:04:05.")]byte
}

var lastSecond atomic.Pointer[secondText]

// appendTime writes RFC 3339 in UTC with milliseconds. The text of the last second is kept.
func appendTime(dst []byte, t time.Time) []byte {
	s := lastSecond.Load()
	if second := t.Unix(); s == nil || s.second != second {
		s = &secondText{second: second}
		appendSeconds(s.text[:0], t.UTC())
		lastSecond.Store(s)
	}
	ms := t.Nanosecond() / 1e6
	return append(append(dst, s.text[:]...), digit(ms/100), digit(ms/10), digit(ms), 'Z')
}

func appendSeconds(dst []byte, t time.Time) []byte {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = append(dst, digit(year/1000), digit(year/100), digit(year/10), digit(year), '-')
	dst = append(appendTwo(dst, int(month)), '-')
	dst = append(appendTwo(dst, day), 'T')
	dst = append(appendTwo(dst, hour), ':')
	dst = append(appendTwo(dst, minute), ':')
	return append(appendTwo(dst, second), '.')
}

func appendTwo(dst []byte, n int) []byte { return append(dst, digit(n/10), digit(n)) }

// digit is the last decimal digit of n.
func digit[T int | int64](n T) byte { return '0' + byte(n%10) }
