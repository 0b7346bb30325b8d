package observe

import (
	"io"
	"log/slog"
	"time"
)

// NewLogger makes the JSON logger for all that is not a request. Give it the AccessLog as w: both then share the sink, and
// no line cuts into another. Times look as they do in access lines.
func NewLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: utcMillis}))
}

func utcMillis(groups []string, a slog.Attr) slog.Attr {
	if a.Key != slog.TimeKey || len(groups) > 0 || a.Value.Kind() != slog.KindTime {
		return a
	}
	return slog.String(slog.TimeKey, string(appendTime(make([]byte, 0, len(time.RFC3339Nano)), a.Value.Time())))
}
