package traffic

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// fixedCall makes a fixed answer to a gRPC call one that its client can read: the code that the client would make of the HTTP
// status, in a head that is all there is. Not even a 200 is OK: there is no message in it.
func fixedCall(x *pipeline.Exchange) {
	if !x.Calls() {
		return
	}
	r := x.Response
	status := r.Status()
	r.SetBody(nil)
	r.SetStatus(200)
	r.Del("Content-Encoding")
	r.Set("Content-Type", []byte("application/grpc"))
	r.Set(pipeline.GRPCStatusField, strconv.AppendInt(nil, int64(pipeline.HTTPAsGRPC(status)), 10))
	r.Set(pipeline.GRPCMessageField, append([]byte("The answer of this route is HTTP "), words(status)...))
}

func words(status int) string {
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}

// contentType finds the type of a fixed answer.
func contentType(headers map[string]string) []byte {
	for name, value := range headers {
		if strings.EqualFold(name, "Content-Type") {
			return []byte(value)
		}
	}
	return nil
}
