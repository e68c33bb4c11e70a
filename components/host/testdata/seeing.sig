{"golden": true}
