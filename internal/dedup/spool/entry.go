package spool

import (
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// Entry is a result that a store did not take.
type Entry struct {
	Key    record.Key
	Token  record.Token
	Result record.Result
	At     time.Time
}
