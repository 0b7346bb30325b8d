package pipeline

import "testing"

func TestTrailers(t *testing.T) {
	var none *Trailers
	none.Each(func(string, string) { t.Error("a field of none") })
	if none.Len() != 0 || none.Clone() != nil || (&Trailers{}).Clone() != nil {
		t.Error("none is something")
	}
	some := &Trailers{}
	for range maxTrailers {
		if !some.Add("Grpc-Status", "0") {
			t.Fatal("refused within the bound")
		}
	}
	if some.Add("One-More", "") || some.Len() != maxTrailers {
		t.Error("no bound")
	}
	first := &Trailers{}
	first.Add("A", "1")
	copied := first.Clone()
	first.Add("B", "2")
	var seen string
	copied.Each(func(name, value string) { seen += name + value })
	if seen != "A1" {
		t.Errorf("%q", seen)
	}
}

type leaver chan struct{}

func (l leaver) Gone() bool            { return false }
func (l leaver) Left() <-chan struct{} { return l }

// What belongs to one request is gone with the next; a given-up try takes its trailers along.
func TestTrailersOfAnExchange(t *testing.T) {
	m := NewMemory("GET", "/")
	m.Trailers, m.RequestTrailers, m.HTTP2 = &Trailers{}, &Trailers{}, true
	d := m.Detach(nil)
	d.Trailers = &Trailers{}
	if !d.HTTP2 || d.RequestTrailers != nil {
		t.Error("a detached copy speaks another protocol, or shares trailers")
	}
	m.Abandon(m.Mark(), End{})
	if m.Trailers != nil || m.RequestTrailers == nil {
		t.Error("a given-up try left its trailers, or took the client's")
	}
	d.Deliver(&m.Exchange)
	if m.Trailers != d.Trailers || m.Trailers == nil {
		t.Error("trailers were not delivered")
	}
	if m.Left() != nil {
		t.Error("an edge that can only be asked has a channel")
	}
	l := make(leaver)
	m.Begin(m.Got, m.Sent, l)
	if m.Trailers != nil || m.RequestTrailers != nil || m.HTTP2 || m.Left() == nil {
		t.Error("something of the last request stayed")
	}
}
