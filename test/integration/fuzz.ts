import t from 'tap'
import { testByChance } from '../support/fuzz/suite.js'

// Twenty thousand hostile bodies, a third of them for each provider.
testByChance(t, { forged: 20_000, hostile: 6700, changed: 5000 })
