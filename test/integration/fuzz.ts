import t from 'tap'
import { testByChance } from '../support/fuzz/suite.js'

// 20,000 hostile bodies, a third of them for each provider.
testByChance(t, { forged: 20_000, hostile: 6700, changed: 5000 })
