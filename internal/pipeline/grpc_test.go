package pipeline

import "testing"

func TestIsGRPC(t *testing.T) {
	for text, want := range map[string]bool{
		"application/grpc": true, "Application/GRPC": true, "application/grpc+proto": true, "application/grpc; x=y": true, "application/grpc ": true,
		"application/grpc-web": false, "application/grpc-web+proto": false, "application/grpcx": false, "application/grp": false, "": false, "text/html": false,
	} {
		if IsGRPC([]byte(text)) != want {
			t.Errorf("%q", text)
		}
	}
}

// The table is google.rpc.Code's; what nobody knows is UNKNOWN.
func TestGRPCAsHTTP(t *testing.T) {
	want := []int{200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401, 500, 500}
	for code, status := range want {
		if got := GRPCAsHTTP(code); got != status {
			t.Errorf("%d stands for %d, want %d", code, got, status)
		}
	}
	for status, code := range map[int]int{400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14, 200: 2, 308: 2, 500: 2, 409: 2} {
		if got := HTTPAsGRPC(status); got != code {
			t.Errorf("%d becomes %d, want %d", status, got, code)
		}
	}
	if GRPCAsHTTP(-1) != 500 {
		t.Error("below the table")
	}
}

func TestGRPCStatus(t *testing.T) {
	for name, c := range map[string]struct {
		head, late []string
		code       int
		ok         bool
	}{
		"head":              {head: []string{"0"}, ok: true},
		"late":              {late: []string{"14"}, code: 14, ok: true},
		"beyond":            {late: []string{"1234"}, code: 1234, ok: true},
		"none":              {},
		"empty":             {head: []string{""}},
		"late and empty":    {late: []string{""}},
		"twice in the head": {head: []string{"0", "0"}},
		"twice behind":      {late: []string{"0", "0"}},
		"in both":           {head: []string{"0"}, late: []string{"0"}},
		"a word":            {head: []string{"OK"}},
		"with a sign":       {late: []string{"+1"}},
		"too long":          {late: []string{"00014"}},
	} {
		m := NewMemory("POST", "/a.B/C").WithHeader("Content-Type", "application/grpc")
		m.HTTP2 = true
		for _, value := range c.head {
			m.Response.Add("grpc-status", []byte(value))
		}
		m.Trailers = &Trailers{}
		for _, value := range c.late {
			m.Trailers.Add("Grpc-Status", value)
		}
		code, ok := m.GRPCStatus()
		if ok != c.ok || ok && code != c.code {
			t.Errorf("%s: %d %v", name, code, ok)
		}
	}
}

// A head is judged by a code that stands in it; what stands behind a body is noted at its end, and only there.
func TestHeadAndEndOfCalls(t *testing.T) {
	call := func(http2 bool, status int, head, late string) *Memory {
		m := NewMemory("POST", "/a.B/C").WithHeader("Content-Type", "application/grpc")
		m.HTTP2 = http2
		m.Response.SetStatus(status)
		if head != "" {
			m.Response.Set("Grpc-Status", []byte(head))
		}
		if late != "" {
			m.Trailers = &Trailers{}
			m.Trailers.Add("grpc-status", late)
		}
		return m
	}
	for name, c := range map[string]struct {
		m     *Memory
		head  int
		later bool
		late  int
	}{
		"in the head":     {call(true, 200, "14", ""), 503, false, 0},
		"malformed":       {call(true, 200, "x", ""), 200, false, 0},
		"behind the body": {call(true, 200, "", "8"), 200, true, 429},
		"nowhere":         {call(true, 200, "", ""), 200, true, 0},
		"of HTTP":         {call(true, 502, "0", ""), 502, false, 0},
		"over HTTP/1.1":   {call(false, 200, "14", ""), 200, false, 0},
	} {
		if got := c.m.HeadStatus(); got != c.head || c.m.TellsLater() != c.later {
			t.Errorf("%s: %d, later %v", name, got, c.m.TellsLater())
		}
		status, ok := c.m.EndCall()
		if status != c.late || ok != (c.late != 0) || c.m.Attempt.Late != c.late {
			t.Errorf("%s: %d %v %d", name, status, ok, c.m.Attempt.Late)
		}
	}
	m := call(true, 200, "", "8")
	_, _ = m.EndCall()
	if m.Abandon(0, End{}); m.Attempt.Late != 0 {
		t.Error("an abandoned try leaves its end behind")
	}
}
