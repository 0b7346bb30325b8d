package redisconn

import "testing"

func TestTooOld(t *testing.T) {
	for version, old := range map[string]bool{"6.0.16": true, "5.0.7": true, "6.2.0": false, "7.0.15": false, "8.2": false, "": false, "x.y": false} {
		if TooOld(version) != old {
			t.Errorf("%q: too old %v", version, !old)
		}
	}
}
