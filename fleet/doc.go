// Package fleet measures how exactly a fleet of gateways shares its limits, and what it does while Redis is away.
//
// It starts the real binary several times in front of a real Redis, offers a load whose arrivals don't wait for answers, notes
// of each request when it was due, sent and answered, and judges those notes by pure functions: against one ideal bucket fed
// the same arrivals, and against the most that a rule allows between a sending and an answer. A request was decided between
// the two, so an excess that is counted that way is proven, however slow the machine was.
//
// It doesn't prove what was not offered: the load generator shares the machine with the fleet, and stays below 4000 requests a
// second. It knows nothing of the gateway's code but its document, its answers, its metrics and Redis' own statistics.
package fleet
