package record

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestEdge28ClockRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := Clock()
		before := now()
		time.Sleep(time.Hour)
		if d := now().UnixNano() - before.UnixNano(); d != int64(time.Hour) {
			t.Errorf("an hour took %s", time.Duration(d))
		}
	})
}
