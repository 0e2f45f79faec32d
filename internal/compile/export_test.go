package compile

// LineOf gives the line that a row stood in.
func LineOf(r row) int { return r.line }

// ReadCSV is readCSV, for tests.
var ReadCSV = readCSV
