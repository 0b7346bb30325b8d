package gateway

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/statuscheck"
)

// A status check asks an upstream of h2c over HTTP/2.
func TestStatusCheckOverH2C(t *testing.T) {
	asked := make(chan string, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		asked <- q.Proto + " " + q.URL.Path
		w.WriteHeader(200)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	usual, clear := transports()
	defer clear.CloseIdleConnections()
	base := func(string) (*url.URL, bool) { return &url.URL{Scheme: "h2c", Host: s.Listener.Addr().String()}, true }
	c, err := statuscheck.New(dedup.StatusCheck{URL: "http://up/made/{key}", Executed: []int{200}}, schemes{usual, clear}, base)
	if err != nil {
		t.Fatal(err)
	}
	verdict, err := c.Check(t.Context(), "k")
	if err != nil || verdict != dedup.WasExecuted {
		t.Fatalf("%v, %v", verdict, err)
	}
	if got := <-asked; got != "HTTP/2.0 /made/k" {
		t.Error(got)
	}
}
