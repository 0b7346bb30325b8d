package chaos

// Points are the kill points of package failpoint.
var Points = []string{"K1", "K2", "K3", "K4", "K5", "K6", "K7", "K8", "K9", "K10", "K11", "K12"}

// StartPoints are those that only the embedded store comes by.
var StartPoints = []string{"K13c", "K13d", "K13e"}

// ShortCells are some of every kind, for each change.
func ShortCells() (cells []Cell) {
	embedded := Embedded(1)
	for i, p := range append(append([]string{}, Points...), StartPoints...) {
		cells = append(cells, Cell{Point: p, Topology: embedded, Behaviour: Behaviours[i%len(Behaviours)].Name, Habit: Habits[i%len(Habits)]})
	}
	for i, b := range Behaviours {
		cells = append(cells, Cell{Topology: Embedded(2), Faults: []string{KillGateway, StopGateway}, Behaviour: b.Name, Habit: Habits[(i+1)%len(Habits)]})
	}
	return cells
}

// FullCells are the whole matrix.
func FullCells() (cells []Cell) {
	for _, p := range append(append([]string{""}, Points...), StartPoints...) {
		for _, b := range Behaviours {
			for _, h := range Habits {
				faults := []string{KillGateway, StopGateway}
				if p != "" {
					faults = nil
				}
				cells = append(cells, Cell{Point: p, Faults: faults, Topology: Embedded(2), Behaviour: b.Name, Habit: h})
			}
		}
	}
	return cells
}
