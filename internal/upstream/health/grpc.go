package health

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
)

const grpcCheck = "/grpc.health.v1.Health/Check"

// askGRPC asks whether a service is serving (gRPC Health Checking Protocol). The two messages have one field each, so they are
// written and read by hand.
func (p *probe) askGRPC(ctx context.Context) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, p.scheme()+p.t.Host+grpcCheck, bytes.NewReader(checkRequest(p.s.Service)))
	if err != nil {
		return errors.New("the service can't be asked for")
	}
	q.Header.Set("User-Agent", "oncegate-health")
	q.Header.Set("Content-Type", "application/grpc")
	q.Header.Set("TE", "trailers")
	answer, err := p.client.Do(q)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 4<<10))
	if err != nil {
		return err
	}
	code := answer.Trailer.Get("Grpc-Status")
	if code == "" {
		code = answer.Header.Get("Grpc-Status") // trailers only
	}
	switch {
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d", answer.StatusCode)
	case len(code) > 2:
		return errors.New("the gRPC status is malformed")
	case code != "0":
		return fmt.Errorf("gRPC status %q", code)
	}
	state, ok := servingStatus(body)
	if !ok {
		return errors.New("the answer is malformed")
	}
	if state != serving {
		return fmt.Errorf("serving status %d", state)
	}
	return nil
}

const serving = 1 // grpc.health.v1.HealthCheckResponse.SERVING

// checkRequest is a HealthCheckRequest, service being its field 1, in a gRPC frame.
func checkRequest(service string) []byte {
	var message []byte
	if service != "" {
		message = append(message, 1<<3|2)
		message = binary.AppendUvarint(message, uint64(len(service)))
		message = append(message, service...)
	}
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	return append(frame, message...)
}

// servingStatus reads status, field 1, of a HealthCheckResponse in a gRPC frame; fields that we don't know are passed over.
func servingStatus(frame []byte) (status uint64, ok bool) {
	if len(frame) < 5 || frame[0] != 0 || uint64(binary.BigEndian.Uint32(frame[1:])) != uint64(len(frame)-5) {
		return 0, false
	}
	for b := frame[5:]; len(b) > 0; {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, false
		}
		b = b[n:]
		v, n := binary.Uvarint(b)
		switch {
		case tag&7 == 0 && n > 0:
			b = b[n:]
		case tag&7 == 2 && n > 0 && v <= uint64(len(b)-n):
			b = b[n+int(v):]
		default:
			return 0, false
		}
		if tag == 1<<3 {
			status = v
		}
	}
	return status, true
}
