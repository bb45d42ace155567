/** The words that the toy model knows. Words of one topic are alike to it. */

const list = (text: string): readonly string[] => text.trim().split(/\s+/);

export const TOPICS: readonly (readonly string[])[] = [
  'weather rain storm wind snow thunder hail fog sun sunny cold heat cloud clouds winter summer frost umbrella forecast icy roads lightning drizzle temperature temperatures',
  'account password login credentials sign profile user email mail address code locked reset forgot device logged username security verification',
  'food eat pizza bread soup cheese apple apples dinner lunch breakfast restaurant kitchen menu cook bake bakes cake rice salad hungry taste delicious oven butter milk tomatoes potatoes chef waiter meal',
  'train bus tram flight airport station ticket travel trip passengers delay delayed car cars bicycle drive driver pilot plane harbour ship road traffic motorway taxi suitcase luggage platform ferry',
  'doctor hospital pain medicine nurse fever ill sick headache patient patients health flu dentist tooth surgery vaccine pharmacy cough allergy blood heart',
  'money price pay payment bank credit card invoice refund order cheap expensive costs tax euros salary loan shop discount receipt charged budget',
  'football goal match team player coach race runner tennis swim swimmer medal league stadium champion won game referee marathon score final',
  'music song guitar piano concert orchestra band violin singer drum choir album melody drummer sing sings stage',
  'dog cat bird birds horse cow sheep fox wolf wolves fish owl cats dogs puppy kitten hen animal animals tail feathers nest',
  'computer laptop software program printer screen keyboard network internet server crash crashes update file files phone battery app browser data memory code',
  'moon planet planets star stars space rocket telescope orbit galaxy astronaut astronauts satellite comet eclipse spacecraft mars',
  'law court judge election vote votes minister president parliament government police mayor treaty jury citizens senate',
].map(list);

const FUNCTION_WORDS = list(`
  the a an and or of to in on at for from with without by is are was were be been has have had do does did not no can cannot
  could will would may must should i you he she it we they my your his her its our their me him them this that these those who what where when
  why how which there here very too more most much many some any all each every one two three four five new old big small good bad
  long short late early today tomorrow yesterday night day week year after before during into over under between up down out off again
  ' ’ . , ! ? : ; -
`);

/** By id. */
export const VOCABULARY: readonly string[] = [
  ...new Set(['[PAD]', '[UNK]', '[CLS]', '[SEP]', ...FUNCTION_WORDS, ...TOPICS.flat()]),
];
