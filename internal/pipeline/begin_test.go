package pipeline

import (
	"net/netip"
	"reflect"
	"testing"
	"time"
)

// Nothing of one exchange is seen by the next: Begin names every field, and this fails for one that it forgets.
func TestBeginForgetsEverything(t *testing.T) {
	var x, fresh Exchange
	fill(reflect.ValueOf(&x).Elem())
	x.Outgoing.Set("X-A", []byte("secret"))
	x.nends = 2
	x.Peer, x.ClientIP, x.Trace.ID = netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddr("192.0.2.1"), [16]byte{1}
	x.TLS = &TLS{}
	x.Start, x.Deadline, x.Attempt.At, x.Deferred = time.Now(), time.Now(), time.Now(), TooLarge
	x.Begin(nil, nil, nil)
	if kept := x.Outgoing.fields; len(kept) != 0 || kept[:1][0].Name != "" || kept[:1][0].Value != nil {
		t.Errorf("left over to send upstream: %+v", kept[:1])
	}
	// Beyond their counts arrays hold what they held.
	x.Outgoing.fields, x.Params.Values, x.ends = fresh.Outgoing.fields, fresh.Params.Values, fresh.ends
	if !reflect.DeepEqual(x, fresh) {
		t.Errorf("left over: %+v", x)
	}
}

// fill sets every field that can be set from outside to something.
func fill(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		if !f.CanSet() {
			continue
		}
		switch f.Kind() {
		case reflect.Struct:
			fill(f)
		case reflect.Bool:
			f.SetBool(true)
		case reflect.String:
			f.SetString("x")
		case reflect.Int, reflect.Int64:
			f.SetInt(1)
		case reflect.Uint8:
			f.SetUint(1)
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		}
	}
}
