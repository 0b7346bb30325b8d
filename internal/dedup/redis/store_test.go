package redis

import (
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/storetest"
	"github.com/oncegate/oncegate/internal/redistest"
)

func TestContractSingle(t *testing.T) {
	server := redistest.Start(t)
	contract(t, func() Config { return single(server) })
}

func TestContractSentinel(t *testing.T) {
	fleet := redistest.StartSentinel(t, 1)
	contract(t, func() Config { return sentinel(fleet, 1) })
}

func TestContractCluster(t *testing.T) {
	fleet := redistest.StartCluster(t, 3, 1)
	contract(t, func() Config { return cluster(fleet, 1) })
}

func contract(t *testing.T, config func() Config) {
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		return storetest.Subject{Store: open(t, config(), Deps{}), Advance: time.Sleep}
	})
}
