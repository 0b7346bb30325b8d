package h2

import (
	"log/slog"
	"strings"

	"github.com/oncegate/oncegate/internal/edge"
)

// chatter is what net/http logs: errors of connections, which clients cause.
type chatter struct {
	log    *slog.Logger
	faults *edge.Faults
}

// Write implements io.Writer. net/http has no other word for a connection that it ends by GOAWAY.
func (c chatter) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if strings.Contains(text, "server connection error") {
		c.faults.Add(edge.H2Connection)
	}
	c.log.Debug("http2 connection", "said", text)
	return len(line), nil
}

// faultOf sorts the words of http.HTTP2Config.CountError into few, so that they can be labels: conn or stream, an error code, and
// what it was, or frame_ and what was wrong with it.
func faultOf(what string) edge.Fault {
	if rest, ok := strings.CutPrefix(strings.TrimPrefix(what, "stream_"), "conn_"); ok || rest != what {
		what = strings.TrimLeft(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789")
	}
	switch what {
	case "send_too_much":
		return edge.H2Length
	case "flow_on_data_length", "data_flow", "setting_win_size", "bad_flow":
		return edge.H2Window
	case "over_max_streams", "over_max_streams_race":
		return edge.H2Streams
	case "too_many_early_resets", "settings_big_or_dups":
		return edge.H2Flood
	case "bad_connect", "bad_path_method", "bad_path", "userinfo_in_authority", "trailers_bogus", "trailers_pseudo", "trailers_not_ended", "dup_trailers":
		return edge.H2Malformed
	case "first_settings", "push_promise", "ping_on_stream", "stream_idle", "reset_idle_stream", "ack_mystery", "data_on_idle", "closed",
		"headers_even", "headers_half_closed", "stream_went_down", "priority":
		return edge.H2Frame
	}
	if strings.HasPrefix(what, "frame_") {
		return edge.H2Frame
	}
	return edge.H2Other
}
